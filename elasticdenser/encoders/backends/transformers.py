"""Backend of Hugging Face transformers: the full encoder of any architecture that its `AutoModel` loads."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from elasticdenser.arrays import Floats, Vectors
from elasticdenser.encoders.backends.head import load_head
from elasticdenser.encoders.backends.padding import length_buckets, padded, pooled
from elasticdenser.encoders.backends.torch_threads import one_torch_thread
from elasticdenser.encoders.devices import resolve_device, resolve_dtype_of
from elasticdenser.errors import ModelError
from elasticdenser.models.locate import ModelLocation
from elasticdenser.models.model_files import read_config, read_modules, transformer_folder
from elasticdenser.models.settings import EncoderSettings
from elasticdenser.subnet import Subnet


class TransformersBackend:
    """A full encoder computed by transformers; see `EncoderBackend`.

    Its only subnet is the full encoder. Sequences of similar lengths are computed together, padded on the right. The
    attention is that which transformers prefers: torch's `scaled_dot_product_attention` where the architecture has it.
    Pooling and what follows it are computed in float32.

    How far a text's vector depends on the other texts of its batch, the table in `elasticdenser.encoders.backends`
    says.

    Args:
        model: The transformer, on its device.
        head: Modules behind the pooling.
        settings: How texts become vectors.
    """

    def __init__(self, model: Any, head: nn.Module, settings: EncoderSettings) -> None:
        self._model, self._head, self._settings = model.eval(), head, settings
        self._device: torch.device = model.device
        self.dtype, self.device_type = str(model.dtype).removeprefix("torch."), self._device.type
        self.full_subnet = Subnet(1.0, getattr(model.config, "num_hidden_layers", None) or 1)
        self.subnets = [self.full_subnet]
        self._n_tokens = int(model.get_input_embeddings().weight.shape[0])
        self._padding = padding_token(model.config, self._n_tokens)
        self._n_dims = self._probe()

    @classmethod
    def load(
        cls,
        location: ModelLocation,
        settings: EncoderSettings,
        *,
        dtype: str = "auto",
        device: str = "auto",
        trained_subnets: bool = True,
    ) -> Self:
        """Load an encoder; see `load_backend`.

        Raises:
            ModelError: transformers cannot load the model or does not know it, or there is no such dtype or device
                here.
        """
        resolved_device = resolve_device(device)
        resolved_dtype = resolve_dtype_of(read_config(location.path), dtype, resolved_device)
        model = load_transformer(location, resolved_dtype).to(resolved_device).requires_grad_(False)
        head = load_head(read_modules(location.path)[2:], resolved_device)
        return cls(model, head, settings)

    @torch.inference_mode()
    def forward(self, sequences: Sequence[Sequence[int]], subnet: Subnet) -> Vectors:
        """Return float32, (n_sequences, dim); see `EncoderBackend`. A sequence without tokens has a vector of zeros.

        Raises:
            ModelError: The tokenizer gave a token that the model does not have, or vectors are not finite.
        """
        self._check_tokens(sequences)
        vectors = torch.zeros(len(sequences), self._n_dims)
        for bucket in length_buckets(list(map(len, sequences)), self.device_type):
            vectors[bucket] = self._vectors(*self._states([sequences[number] for number in bucket]))
        self._check_finite(vectors)
        return (F.normalize(vectors, dim=-1) if self._settings.normalize else vectors).numpy()

    @torch.inference_mode()
    def tokens_and_vectors(
        self, sequences: Sequence[Sequence[int]], projection: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Floats, Vectors]:
        """Return the states of the tokens of all sequences end to end, and the vectors of the sequences.

        Args:
            sequences: Token ids with special tokens; none is empty.
            projection: Weight, (dim, hidden), and bias, (dim,), of a projection of the states; None leaves them as
                they are.

        Returns:
            float32: (n_tokens, dim or hidden), and (n_sequences, vector_dim), which is not normalised.

        Raises:
            ModelError: As of `forward`.
        """
        self._check_tokens(sequences)
        tokens: list[Tensor] = [torch.empty(0)] * len(sequences)
        vectors = torch.zeros(len(sequences), self._n_dims)
        if projection is not None:
            projection = projection[0].to(self._device), projection[1].to(self._device)
        for bucket in length_buckets(list(map(len, sequences)), self.device_type):
            states, mask = self._states([sequences[number] for number in bucket])
            vectors[bucket] = self._vectors(states, mask)
            projected = (states if projection is None else F.linear(states, *projection)).cpu()
            for number, own in zip(bucket, projected, strict=True):
                tokens[number] = own[: len(sequences[number])]
        joined = torch.cat(tokens)
        self._check_finite(joined)
        return joined.numpy(), vectors.numpy()

    def one_thread_per_call(self) -> AbstractContextManager[None]:
        """Return a context in which torch uses one thread a call; its setting is restored afterwards."""
        return one_torch_thread

    def _states(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return the states of tokens, float32, (n_sequences, longest, hidden), and their mask, on the device."""
        token_ids, mask = padded(sequences, self._padding)
        token_ids, mask = token_ids.to(self._device), mask.to(self._device)
        states: Tensor = self._model(input_ids=token_ids, attention_mask=mask.long()).last_hidden_state
        return states.float(), mask

    def _vectors(self, states: Tensor, mask: Tensor) -> Tensor:
        """Return float32, (n_sequences, dim), on the CPU, of the states of sequences."""
        vectors: Tensor = self._head(pooled(states, mask, self._settings.pooling))
        return vectors.cpu()

    def _check_tokens(self, sequences: Sequence[Sequence[int]]) -> None:
        largest = max((max(sequence, default=0) for sequence in sequences), default=0)
        if largest >= self._n_tokens:  # on a GPU, torch would end the process
            raise ModelError(
                f"the tokenizer gave the token {largest:,}, expected 0 to {self._n_tokens - 1:,}, for which the model "
                "has vectors: its tokenizer does not belong to its weights; fetch the model again"
            )

    def _check_finite(self, vectors: Tensor) -> None:
        if not vectors.isfinite().all():
            way_out = "use --precision bf16 or fp32" if self.dtype == "float16" else "fetch the model again"
            raise ModelError(f"got vectors that are not finite in {self.dtype}, expected finite numbers: {way_out}")

    def _probe(self) -> int:
        """Return the dimensions of a vector, and find out whether the model computes one from token ids alone."""
        try:
            with torch.inference_mode():
                return self._vectors(*self._states([[min(5, self._n_tokens - 1)] * 3])).shape[1]
        except Exception as error:  # each model has its own kinds of errors
            raise ModelError(
                f"a model of type {self._model.config.model_type!r} gives no vectors of tokens for their ids alone "
                f"({_first_line(error)}), expected an encoder of text: choose another model"
            ) from error


def load_transformer(location: ModelLocation, dtype: torch.dtype) -> Any:
    """Load the transformer of an encoder, without what follows it, on the CPU.

    Raises:
        ModelError: transformers cannot load it or does not know it, or weights are missing.
    """
    import transformers
    import transformers.utils.logging

    logging: Any = transformers.utils.logging
    folder = transformer_folder(location.path)
    options = {"local_files_only": True, "trust_remote_code": location.trust_remote_code}
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # its report on weights of other heads would stand in the midst of our output
    logging.disable_progress_bar()
    try:
        config = transformers.AutoConfig.from_pretrained(folder, **options)
        config.use_cache = False  # which only generation needs
        model, info = _auto_class(config).from_pretrained(
            folder, config=config, dtype=dtype, output_loading_info=True, **options
        )
    except Exception as error:  # transformers has many kinds of errors
        raise ModelError(_cannot_load(location, error)) from error
    finally:
        logging.set_verbosity(verbosity)
    # The pooler is a layer behind the last hidden states, which sentence encoders do not use.
    missing = sorted(name for name in info["missing_keys"] if "pooler" not in name)
    if missing:
        named = ", ".join(missing[:3]) + (" and more" if len(missing) > 3 else "")
        raise ModelError(
            f"the weights in {folder} lack {named}, which its config.json ({config.model_type}) calls for: fetch the "
            "model again"
        )
    return model


def _auto_class(config: Any) -> Any:
    """Return the class that loads a model: of T5 and its like, which also have a decoder, the encoder alone."""
    from transformers import AutoModel, AutoModelForTextEncoding
    from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

    encoder: Any = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)
    return AutoModelForTextEncoding if encoder is not None and "Encoder" in encoder.__name__ else AutoModel


def _cannot_load(location: ModelLocation, error: Exception) -> str:
    import transformers

    version, kind = transformers.__version__, read_config(location.path).get("model_type")
    if kind not in transformers.CONFIG_MAPPING and not location.trust_remote_code:
        return (
            f"{location.name} is a model of type {kind!r}, which transformers {version} does not know: use a newer one "
            "(pip install -U transformers), or choose a model of a type that it knows"
        )
    return f"transformers {version} cannot load {location.name} ({_first_line(error)}): fetch the model again"


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def padding_token(config: Any, n_tokens: int) -> int:
    """Return the token to pad with: the model's own, because MPNet and RoBERTa count positions by it."""
    token = getattr(config, "pad_token_id", None)
    return token if isinstance(token, int) and 0 <= token < n_tokens else 0
