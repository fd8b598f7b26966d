"""The engine: requests with deadlines, a scheduler that picks the encoder's size, worker threads, and a simulator.

Time is an argument of the scheduler (`schedule(now_s)`), so the live engine and the simulator run the same one. Nothing
here imports torch: what encodes and searches is handed in.
"""
