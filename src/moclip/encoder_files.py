"""An encoder as a folder of its own: open_clip's config and the weights, wherever they came from."""

import json
import shutil
from pathlib import Path

import open_clip
from safetensors.torch import save_file

from moclip.appearance import load_encoder
from moclip.encoder_spec import CONFIG_NAME, LOCAL_DIR, EncoderSpec, local_weights
from moclip.errors import ModelError
from moclip.files import replace_atomically

_WEIGHTS_NAME = "open_clip_model.safetensors"


def write_encoder(spec: EncoderSpec, folder: Path) -> None:
    """Write the encoder of a spec as a folder that `model: local-dir:` takes; a local folder is copied byte for byte.

    Raises:
        ModelError: Its weights cannot be found or loaded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    weights = local_weights(spec)
    if spec.model.startswith(LOCAL_DIR) and weights is not None:
        shutil.copyfile(Path(spec.model.removeprefix(LOCAL_DIR)) / CONFIG_NAME, folder / CONFIG_NAME)
        shutil.copyfile(weights, folder / weights.name)
        return
    encoder = load_encoder(spec)
    config = open_clip.get_model_config(spec.model)
    preprocess = open_clip.get_model_preprocess_cfg(encoder.model)
    if config is None:
        raise ModelError(f"{spec.model}: open_clip has no config of it to export")
    document = {"model_cfg": config, "preprocess_cfg": preprocess}
    (folder / CONFIG_NAME).write_text(json.dumps(document, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    # The towers share no tensors; copies, because safetensors takes no views.
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in encoder.model.state_dict().items()}
    with replace_atomically(folder / _WEIGHTS_NAME) as temporary:
        save_file(tensors, str(temporary))
