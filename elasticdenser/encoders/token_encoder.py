"""Encoder of tokens: a vector for each token of a text, by the kernel in C; for late interaction."""

from __future__ import annotations

from collections.abc import Sequence

from elasticdenser.arrays import Floats
from elasticdenser.encoders.backends.kernel import KernelBackend, can_run
from elasticdenser.errors import ModelError
from elasticdenser.kernel.structs import EACH_TOKEN, KernelModel
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.settings import INT8, read_settings
from elasticdenser.subnet import LEVEL_0, Subnet


class TokenEncoder:
    """States that the last layer of a subnet gives the tokens of a text; safe to use from several threads.

    Attributes:
        location: Location of the encoder's files.
        full_subnet: The full encoder.
        subnets: All subnets with layers, from large to small.
        dtype: Arithmetic of the matrix products.

    Args:
        location: Location of the encoder's files, as `find_model` returns it.
        dtype: `int8` or `float32`.

    Raises:
        ModelError: The kernel cannot compute this encoder here.
    """

    def __init__(self, location: ModelLocation, *, dtype: str = INT8) -> None:
        settings = read_settings(location.path)
        if not can_run(location, settings):
            raise ModelError(
                f"the kernel cannot compute the tokens of {location.name} here, which late interaction needs: choose a "
                "BERT-type encoder, on a processor with AVX2"
            )
        self.location, self.dtype = location, dtype
        self._backend = KernelBackend.load(location, settings, dtype=dtype, device="cpu")
        self.full_subnet = self._backend.full_subnet
        self.subnets = [subnet for subnet in self._backend.subnets if subnet != LEVEL_0]

    def model(self, subnet: Subnet, projection: tuple[Floats, Floats] | None = None) -> KernelModel:
        """Return what `encode` computes with.

        Args:
            subnet: One of `subnets`.
            projection: Weight, float32, (dim, hidden), and bias, (dim,), of a projection of the states.
        """
        return self._backend.token_model(subnet, projection)

    def encode(self, model: KernelModel, sequences: Sequence[Sequence[int]]) -> Floats:
        """Return the (projected) states of the tokens of all sequences end to end, float32, (n_tokens, dim).

        Args:
            model: As `model` returned it.
            sequences: Token ids with special tokens. The states of one do not depend on the others, to the bit.

        Raises:
            QueryError: A sequence is empty or too long, or a token does not exist.
        """
        return self._backend.run(model, sequences, EACH_TOKEN)
