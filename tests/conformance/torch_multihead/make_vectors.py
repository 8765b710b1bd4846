"""Records torch.nn.MultiheadAttention and torch.nn.TransformerEncoderLayer as .safetensors files.

make_vectors.py [DIRECTORY]  writes a file per case, into its own directory unless told otherwise.
"""
import json
import os
import pathlib
import sys

# As tests/bench/peers/torch_peer.py, for PyTorch as `./dev bench --peers` installs it.
sys.setdlopenflags(os.RTLD_LAZY | os.RTLD_GLOBAL)
import torch  # noqa: E402
from torch import nn  # noqa: E402

STORED = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.bool: "BOOL", torch.int64: "I64",
}
# Of torch's parameters.
ATTENTION_ROLES = {
    "in_proj_weight": "w_qkv", "in_proj_bias": "b_qkv",
    "q_proj_weight": "w_query", "k_proj_weight": "w_key", "v_proj_weight": "w_value",
    "out_proj.weight": "w_output", "out_proj.bias": "b_output",
    "bias_k": "bias_k", "bias_v": "bias_v",
}
LAYER_ROLES = {f"self_attn.{name}": role for name, role in ATTENTION_ROLES.items()} | {
    "norm1.weight": "block.attention_norm_scale", "norm1.bias": "block.attention_norm_shift",
    "norm2.weight": "block.ffn_norm_scale", "norm2.bias": "block.ffn_norm_shift",
    "linear1.weight": "block.w_up", "linear1.bias": "block.b_up",
    "linear2.weight": "block.w_down", "linear2.bias": "block.b_down",
}
HEADS, WIDTH, FFN_WIDTH, BATCH, LENGTH = 4, 12, 22, 2, 5
DROP_SOME = torch.tensor([
    [0, 1, 0, 0, 1, 0, 0], [0, 0, 1, 0, 1, 1, 0], [1, 1, 1, 1, 1, 0, 1], [0, 0, 0, 0, 0, 0, 0], [1, 0, 0, 1, 0, 1, 1],
], dtype=torch.bool)
directory = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else pathlib.Path(__file__).resolve().parent


def write(name, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    # Wide elements first keeps all of them aligned.
    for key, tensor in sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0])):
        raw = tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[key] = {"dtype": STORED[tensor.dtype], "shape": list(tensor.shape), "data_offsets": offsets}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (directory / f"{name}.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def randomise(module):
    """Scores of a few units, biases that show, norms that scale and shift."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape)
            if parameter.dim() == 2:
                noise *= 1.5 / parameter.shape[1] ** 0.5
            elif name in ("norm1.weight", "norm2.weight"):
                noise = 1 + 0.3 * noise
            else:
                noise *= 0.5
            parameter.copy_(noise)


def record(name, module, roles, run, inputs, metadata, weights_dtype=torch.float32):
    """`run(module, dtype)` gives output and weights; those of float64 become the file's."""
    module.to(weights_dtype)
    tensors = {roles[key]: parameter.detach().clone() for key, parameter in module.named_parameters()}
    for role in ("bias_k", "bias_v"):
        if role in tensors:
            tensors[role] = tensors[role].flatten()
    if "w_query" in tensors and "b_qkv" in tensors:  # torch packs the biases of unpacked matrices, too
        tensors |= zip(("b_query", "b_key", "b_value"), tensors.pop("b_qkv").chunk(3))
    exact = run(module.double(), torch.float64)
    plain = run(module.float(), torch.float32)
    for key, value, rounded in zip(("output", "weights"), exact, plain):
        tensors[f"expected.{key}"] = value.detach().float()
        metadata[f"float32_error.{key}"] = f"{(value - rounded).abs().max().item():.2g}"
    metadata |= {"heads": str(HEADS), "orientation": "out_in", "torch": torch.__version__.split("+")[0]}
    write(name, tensors | inputs, metadata)


def masks_of(attn_mask, padding, causal, batch, kv_len, lengths):
    """Request fields and metadata for what torch calls attn_mask, key_padding_mask and is_causal."""
    inputs, metadata, drops = {}, {}, []
    if causal:
        metadata["causal"] = causal
    elif attn_mask is not None:
        if attn_mask.dim() == 3:
            attn_mask = attn_mask.view(batch, HEADS, *attn_mask.shape[1:])
        if attn_mask.dtype == torch.bool:
            drops.append(attn_mask)
        else:
            inputs["bias"] = attn_mask
    if padding is not None and lengths:
        inputs["kv_lengths"] = kv_len - padding.sum(1)
    elif padding is not None:
        drops.append(padding.view(batch, 1, 1, kv_len))
    for i, mask in enumerate(drops):
        inputs["mask" if len(drops) == 1 else f"mask.{i}"] = mask
        metadata["mask_polarity"] = "drop"
    return inputs, metadata


def multihead(name, *, kv_len=None, value=False, attn_mask=None, padding=None, lengths=False, causal="", mean=False,
              batched=True, inputs_dtype=torch.float32, weights_dtype=torch.float32, **options):
    """`value`: another tensor than the key; `causal`: attnctl's word; `mean`: of the weights over the heads."""
    torch.manual_seed(sum(name.encode()))
    options = {"batch_first": True} | options
    module = nn.MultiheadAttention(WIDTH, HEADS, **options)
    randomise(module)
    batch = BATCH if batched else 1
    shape = [batch] if batched else []
    keys = LENGTH if kv_len is None else kv_len
    inputs = {"query": torch.randn(*shape, LENGTH, WIDTH)}
    if kv_len is not None:
        inputs["key"] = torch.randn(*shape, keys, options.get("kdim") or WIDTH)
    if value:
        inputs["value"] = torch.randn(*shape, keys, options.get("vdim") or WIDTH)
    inputs = {key: tensor.to(inputs_dtype) for key, tensor in inputs.items()}
    if causal:
        attn_mask = torch.ones(LENGTH, keys, dtype=torch.bool).triu(1)

    def run(module, dtype):
        query = inputs["query"].to(dtype)
        key = inputs.get("key", inputs["query"]).to(dtype)
        value = inputs.get("value", inputs.get("key", inputs["query"])).to(dtype)
        turn = batched and not options["batch_first"]
        if turn:
            query, key, value = (tensor.transpose(0, 1) for tensor in (query, key, value))
        mask = attn_mask.to(dtype) if attn_mask is not None and attn_mask.is_floating_point() else attn_mask
        output, weights = module(
            query, key, value, attn_mask=mask, key_padding_mask=padding, is_causal=bool(causal),
            need_weights=True, average_attn_weights=mean,
        )
        # The columns that torch appends for bias_k and add_zero_attn are not in the request's results.
        weights = weights.view(batch, 1 if mean else HEADS, LENGTH, -1)[..., :keys]
        return output.transpose(0, 1) if turn else output, weights

    fields, metadata = masks_of(attn_mask, padding, causal, batch, keys, lengths)
    metadata |= {"outputs": "weights", "weights_heads": "mean" if mean else "each"}
    if options.get("add_zero_attn"):
        metadata["add_zero_attn"] = "true"
    if inputs_dtype != torch.float32:
        metadata["output_dtype"] = "float32"
    record(name, module, ATTENTION_ROLES, run, inputs | fields, metadata, weights_dtype)


def encoder(name, *, attn_mask=None, padding=None, lengths=False, causal="", activation="relu", norm_first=False,
            epsilon=1e-5, weights_dtype=torch.float32, **options):
    torch.manual_seed(sum(name.encode()))
    function = (lambda x: nn.functional.gelu(x, approximate="tanh")) if activation == "gelu_tanh" else activation
    module = nn.TransformerEncoderLayer(
        WIDTH, HEADS, FFN_WIDTH, dropout=0, activation=function, layer_norm_eps=epsilon, norm_first=norm_first,
        batch_first=True, **options,
    )
    randomise(module)
    source = torch.randn(BATCH, LENGTH, WIDTH)
    if causal:
        attn_mask = torch.ones(LENGTH, LENGTH, dtype=torch.bool).triu(1)

    def run(module, dtype):
        x = source.to(dtype)
        masks = {"key_padding_mask": padding, "attn_mask": attn_mask, "is_causal": bool(causal)}
        output = module(x, src_mask=attn_mask, src_key_padding_mask=padding, is_causal=bool(causal))
        x = module.norm1(x) if norm_first else x
        return output, module.self_attn(x, x, x, average_attn_weights=False, **masks)[1]

    fields, metadata = masks_of(attn_mask, padding, causal, BATCH, LENGTH, lengths)
    metadata |= {
        "outputs": "weights", "weights_heads": "each", "block.norm_placement": "pre" if norm_first else "post",
        "block.norm": "layer_norm", "block.activation": activation, "block.norm_epsilon": str(epsilon),
    }
    record(name, module, LAYER_ROLES, run, {"query": source} | fields, metadata, weights_dtype)


def padding_after(*lengths, kv_len=LENGTH):
    return torch.arange(kv_len) >= torch.tensor(lengths).unsqueeze(1)


def attention_cases():
    multihead("self_attention")
    multihead("self_attention_mean_weights", mean=True)
    multihead("self_attention_sequence_first", batch_first=False)
    multihead("self_attention_without_batch", batched=False)
    multihead("self_attention_no_bias", bias=False)
    multihead("self_attention_causal", causal="true")
    multihead("cross_attention", kv_len=7)
    multihead("cross_attention_mean_weights", kv_len=7, mean=True)
    multihead("cross_attention_value", kv_len=7, value=True)
    multihead("cross_attention_causal", kv_len=7, causal="top_left")
    multihead("kdim_vdim", kv_len=7, value=True, kdim=7, vdim=10)
    multihead("kdim_vdim_no_bias", kv_len=7, value=True, kdim=7, vdim=10, bias=False)
    multihead("bias_kv", kv_len=7, add_bias_kv=True)
    multihead("zero_attn", kv_len=7, add_zero_attn=True)
    multihead("bias_kv_zero_attn", kv_len=7, add_bias_kv=True, add_zero_attn=True)
    multihead("bias_kv_zero_attn_mean_weights", kv_len=7, add_bias_kv=True, add_zero_attn=True, mean=True)
    multihead("bias_kv_zero_attn_causal", causal="true", add_bias_kv=True, add_zero_attn=True)
    multihead("bias_kv_kdim_vdim", kv_len=7, value=True, kdim=7, vdim=10, add_bias_kv=True)
    # In the second entry nothing is left but what the masks do not hide.
    multihead("bias_kv_padding_hides_all", kv_len=7, padding=padding_after(4, 0, kv_len=7), add_bias_kv=True)
    multihead("zero_attn_lengths_hide_all", kv_len=7, padding=padding_after(4, 0, kv_len=7), lengths=True,
              add_zero_attn=True)
    multihead("key_padding_mask", padding=padding_after(3, 5))
    multihead("key_padding_lengths", padding=padding_after(3, 5), lengths=True)
    multihead("key_padding_holes", padding=torch.tensor([[1, 0, 0, 1, 0], [0, 1, 0, 0, 1]], dtype=torch.bool))
    multihead("bool_mask", kv_len=7, attn_mask=DROP_SOME)
    torch.manual_seed(7)
    by_head = torch.rand(BATCH * HEADS, LENGTH, 7) < 0.4
    by_head[..., 3] = False
    multihead("bool_mask_by_head", kv_len=7, attn_mask=by_head)
    multihead("bool_mask_and_padding", kv_len=7, attn_mask=DROP_SOME, padding=padding_after(7, 6, kv_len=7))
    bias = torch.randn(LENGTH, 7)
    multihead("float_mask", kv_len=7, attn_mask=bias.masked_fill(DROP_SOME, -torch.inf))
    multihead("float_mask_by_head", kv_len=7, attn_mask=torch.randn(BATCH * HEADS, LENGTH, 7))
    multihead("float_mask_bias_kv", kv_len=7, attn_mask=bias, add_bias_kv=True, add_zero_attn=True)
    multihead("bfloat16_weights", weights_dtype=torch.bfloat16)
    multihead("float16_weights_kdim_vdim", kv_len=7, value=True, kdim=7, vdim=10, weights_dtype=torch.float16)
    multihead("bfloat16_embeddings", inputs_dtype=torch.bfloat16, weights_dtype=torch.bfloat16)


def encoder_cases():
    for placement in ("post", "pre"):
        for activation in ("relu", "gelu"):
            encoder(f"encoder_{placement}_norm_{activation}", norm_first=placement == "pre", activation=activation)
    encoder("encoder_post_norm_gelu_tanh", activation="gelu_tanh")
    encoder("encoder_pre_norm_causal", causal="true", norm_first=True, activation="gelu")
    encoder("encoder_post_norm_padding", padding=padding_after(3, 5), lengths=True)
    encoder("encoder_post_norm_no_bias", bias=False)
    encoder("encoder_pre_norm_epsilon", norm_first=True, epsilon=0.25)
    encoder("encoder_post_norm_bfloat16_weights", activation="gelu", weights_dtype=torch.bfloat16)


attention_cases()
encoder_cases()
