"""Folders of Hugging Face, written here, against a forward pass of their own equations."""

import json
from dataclasses import replace

import numpy as np
import published
import pytest
import tokenizers
from safetensors.numpy import save_file

from gptloom.model.checkpoint import load_checkpoint, save_checkpoint
from gptloom.model.errors import UserError
from gptloom.model.float_model import FloatModel
from gptloom.model.imports.calibration import calibrate_by_sampling
from gptloom.model.imports.hugging_face import read_hugging_face
from gptloom.model.imports.options import Options

UNTIED = replace(published.SMALL, theta=500.0, epsilon=1e-3)
TIED = replace(published.SMALL, tied=True, cached=4, layers=1)
WIDE_HEADS = replace(published.SMALL, size=6, cached=1)
SHAPES = {"untied": UNTIED, "tied": TIED, "heads of their own width": WIDE_HEADS}


def described(shape, **fields):
    """Return config.json as transformers writes it."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "attention_bias": False,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "head_dim": shape.size,
        "hidden_act": "silu",
        "hidden_size": shape.width,
        "intermediate_size": shape.hidden,
        "max_position_embeddings": shape.context,
        "mlp_bias": False,
        "model_type": "llama",
        "num_attention_heads": shape.heads,
        "num_hidden_layers": shape.layers,
        "num_key_value_heads": shape.cached,
        "pretraining_tp": 1,
        "rms_norm_eps": shape.epsilon,
        "rope_scaling": None,
        "rope_theta": shape.theta,
        "tie_word_embeddings": shape.tied,
        "vocab_size": shape.vocabulary,
    } | fields


def definition(count):
    """Return a tokenizer.json of single letters."""
    names = ["<unk>", "<s>", "</s>", *"abcdefghijklmnopqrstuvwxyz"][:count]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE({name: i for i, name in enumerate(names)}, [], unk_token="<unk>")
    )
    made.add_special_tokens(names[:3])
    return made.to_str()


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes a folder."""

    def write(shape, tensors=None, tokens=None, **fields):
        made = tmp_path / "tiny"
        made.mkdir(exist_ok=True)
        (made / "config.json").write_text(json.dumps(described(shape, **fields)))
        (made / "tokenizer.json").write_text(definition(tokens or shape.vocabulary))
        save_file(tensors or published.random_tensors(shape), made / "model.safetensors")
        return made

    return write


def check_logits(folder, shape, tensors=None, atol=1e-9):
    checkpoint = read_hugging_face(folder, Options())
    tokens = np.random.default_rng(1).integers(0, shape.vocabulary, shape.context)
    expected = published.logits(shape, tensors or published.random_tensors(shape), tokens)
    found = FloatModel(checkpoint.config, checkpoint.weights).logits(tokens[None])[0]
    np.testing.assert_allclose(found, expected, atol=atol)
    return checkpoint


@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_those_of_the_folder(name, folder):
    checkpoint = check_logits(folder(SHAPES[name]), SHAPES[name])
    assert (checkpoint.tokenizer.bos, checkpoint.tokenizer.end) == (1, 2)
    assert checkpoint.name == "tiny"


def test_survives_a_file_of_our_own(folder, tmp_path):
    checkpoint = calibrate_by_sampling(read_hugging_face(folder(UNTIED), Options()), 0)
    save_checkpoint(tmp_path / "tiny.safetensors", checkpoint)
    loaded = load_checkpoint(tmp_path / "tiny.safetensors")
    assert loaded.config == checkpoint.config
    assert loaded.tokenizer.to_dict() == checkpoint.tokenizer.to_dict()


def test_shards_are_put_together(folder):
    made, tensors = folder(UNTIED), published.random_tensors(UNTIED)
    (made / "model.safetensors").unlink()
    names = sorted(tensors)
    files = {name: f"model-0000{1 + i % 2}-of-00002.safetensors" for i, name in enumerate(names)}
    for file in set(files.values()):
        save_file({name: tensors[name] for name in names if files[name] == file}, made / file)
    (made / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    check_logits(made, UNTIED)
    (made / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(UserError, match=r"names model-00002-of-00002.safetensors, which is not"):
        read_hugging_face(made, Options())


def bfloat16(tensors):
    """Return the tensors with the first 16 bits of each number, and those bits."""
    bits = {name: tensor.view(np.uint32) >> 16 for name, tensor in tensors.items()}
    return {name: (b << 16).view(np.float32) for name, b in bits.items()}, bits


def test_half_precision_is_read(folder):
    tensors = published.random_tensors(UNTIED)
    halves = {name: tensor.astype(np.float16) for name, tensor in tensors.items()}
    check_logits(folder(UNTIED, halves), UNTIED)


def test_bfloat16_is_read(folder):
    tensors, bits = bfloat16(published.random_tensors(UNTIED))
    made = folder(UNTIED)
    header, content = {}, b""
    for name, tensor in bits.items():
        part = tensor.astype("<u2").tobytes()
        at = [len(content), len(content) + len(part)]
        header[name] = {"dtype": "BF16", "shape": tensor.shape, "data_offsets": at}
        content += part
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text + content
    (made / "model.safetensors").write_bytes(whole)
    check_logits(made, UNTIED, tensors)


@pytest.mark.parametrize(
    "fields",
    [
        {"architectures": ["MistralForCausalLM"], "model_type": "mistral", "sliding_window": None},
        {"architectures": ["MistralForCausalLM"], "sliding_window": 24},
        {"architectures": None},
        {"rope_scaling": {"rope_type": "default"}},
        {"rope_theta": None, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
        {"hidden_act": "swish"},
        {"eos_token_id": [2, 0]},
    ],
)
def test_the_same_by_another_name_is_taken(fields, folder):
    made = folder(UNTIED, **fields)
    if fields.get("rope_theta", 0) is None:
        text = json.loads((made / "config.json").read_text())
        del text["rope_theta"]
        (made / "config.json").write_text(json.dumps(text))
    assert check_logits(made, UNTIED).tokenizer.end == 2


def test_a_document_ends_as_it_begins_where_only_one_token_is_named(folder):
    tokenizer = read_hugging_face(folder(UNTIED, eos_token_id=None), Options()).tokenizer
    assert (tokenizer.bos, tokenizer.end) == (1, 1)


def test_positions_within_a_sliding_window_are_kept(folder):
    made = folder(UNTIED, sliding_window=16)
    with pytest.raises(UserError, match=r"sliding window of 16 of 24 .* --context 16"):
        read_hugging_face(made, Options())
    assert read_hugging_face(made, Options(context=16)).config.context == 16


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"attention_bias": True}, "biases"),
        ({"mlp_bias": True}, "biases"),
        ({"layer_norm_eps": 1e-5}, "LayerNorm"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, r"rope scaling \(llama3\)"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r"rope scaling \(linear\)"),
        ({"rope_parameters": {"rope_type": "yarn"}}, r"rope scaling \(yarn\)"),
        ({"rope_scaling": "much"}, r"rope scaling \(much\)"),
        ({"hidden_act": "gelu"}, r"the activation \(hidden_act: \"gelu\"\)"),
        ({"quantization_config": {"bits": 4}}, "quantised weights"),
        ({"partial_rotary_factor": 0.5}, "rotations of a part"),
        ({"num_local_experts": 8}, "experts"),
        ({"final_logit_softcapping": 30.0}, "capped logits"),
        ({"architectures": ["GPT2LMHeadModel"]}, "is a GPT2LMHeadModel"),
        ({"architectures": None, "model_type": "gemma"}, "is a gemma"),
        ({"sliding_window": 16}, "sliding window of 16"),
        ({"num_attention_heads": 6, "head_dim": 4}, "heads is 6"),
        ({"num_key_value_heads": 3}, "cannot share 3"),
        ({"hidden_size": 0}, "hidden_size 0"),
        ({"num_hidden_layers": "two"}, "num_hidden_layers 'two'"),
        ({"rope_theta": "much"}, "theta is 'much'"),
        ({"bos_token_id": None, "eos_token_id": None}, "neither bos_token_id nor eos_token_id"),
        ({"bos_token_id": 99}, "no tokenizer.json of this model"),
        ({"num_hidden_layers": 1}, r"model\.layers\.1\.\S+, .* and 6 more"),
        ({"num_hidden_layers": 3}, "no tensor model.layers.2.input_layernorm.weight"),
        ({"intermediate_size": 24}, r"shape \(20, 16\) instead of \(24, 16\)"),
        ({"vocab_size": 12}, "11 tokens, and the model 12"),
    ],
)
def test_what_has_no_counterpart_or_disagrees_is_refused(fields, fault, folder):
    with pytest.raises(UserError, match=fault):
        read_hugging_face(folder(UNTIED, **fields), Options())


@pytest.mark.parametrize(
    ("name", "tensor", "fault"),
    [
        ("model.layers.0.self_attn.q_proj.bias", np.zeros(16, np.float32), "biases"),
        ("model.layers.0.self_attn.q_norm.weight", np.zeros(4, np.float32), "q_norm"),
        ("model.norm.weight", np.full(16, np.nan, np.float32), "model.norm.weight .* NaN"),
        ("model.norm.weight", np.full(16, 1e300), "NaN or infinity"),
        ("lm_head.weight", np.zeros((11, 16), np.int8), "holds int8, as quantised"),
    ],
)
def test_tensors_without_a_counterpart_are_refused(name, tensor, fault, folder):
    tensors = published.random_tensors(UNTIED) | {name: tensor}
    with pytest.raises(UserError, match=fault):
        read_hugging_face(folder(UNTIED, tensors), Options())


@pytest.mark.parametrize(
    ("file", "content", "fault"),
    [
        ("config.json", b"{", "is no JSON"),
        ("config.json", b"[]", "holds no object"),
        ("config.json", b"\xff", "is no JSON"),
        ("model.safetensors", b"\x10\0\0\0\0\0\0\0{}", "no whole safetensors file"),
        ("model.safetensors", None, "neither model.safetensors nor"),
        ("tokenizer.json", None, "there is no .*tokenizer.json"),
        ("tokenizer.json", b"{}", "no tokenizer.json of this model"),
        ("model.safetensors.index.json", b'{"weight_map": 3}', "has no weight_map"),
    ],
)
def test_damaged_folders_are_refused(file, content, fault, folder):
    made = folder(UNTIED)
    if content is None:
        (made / file).unlink()
    else:
        (made / file).write_bytes(content)
    if file.endswith("index.json"):
        (made / "model.safetensors").unlink()
    with pytest.raises(UserError, match=fault):
        read_hugging_face(made, Options())


@pytest.mark.train
@pytest.mark.parametrize("name", SHAPES)
def test_logits_are_those_of_transformers(name, tmp_path):
    """A random LlamaForCausalLM, saved by the package itself."""
    import torch
    import transformers

    shape = SHAPES[name]
    fields = described(shape)
    for field in ("architectures", "model_type", "rope_scaling", "rope_theta"):
        del fields[field]
    rope = {"rope_type": "default", "rope_theta": shape.theta}
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**fields, rope_parameters=rope, initializer_range=0.3)
    model = transformers.LlamaForCausalLM(config).eval()
    for parameter in model.parameters():
        if parameter.ndim == 1:  # gains, which are all one at the start
            torch.nn.init.normal_(parameter, 1, 0.3)
    model.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_text(definition(shape.vocabulary))
    checkpoint = read_hugging_face(tmp_path, Options())
    tokens = np.random.default_rng(1).integers(0, shape.vocabulary, (2, shape.context))
    with torch.no_grad():
        expected = model(torch.tensor(tokens)).logits.numpy()
    assert abs(expected).max() > 1
    found = FloatModel(checkpoint.config, checkpoint.weights).logits(tokens)
    np.testing.assert_allclose(found, expected, atol=1e-4)
