"""PyTorch's scaled_dot_product_attention, Linear and TransformerEncoderLayer."""
import os
import sys

# Kernels for other devices refer to libraries that are not installed; they are never called,
# so they need not be found.
sys.setdlopenflags(os.RTLD_LAZY | os.RTLD_GLOBAL)
import torch  # noqa: E402

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
LARGEST_MASK = 8192 * 8192


class Peer:
    version = torch.__version__.split("+")[0]
    isa = torch.backends.cpu.get_cpu_capability()

    def runner(self, row):
        torch.set_num_threads(row["threads"])
        torch.manual_seed(1)
        kinds = {"attention": self.attention, "linear": self.linear, "layer": self.layer}
        return kinds[row.get("kind", "attention")](row)

    def attention(self, row):
        if row["option"] == "ragged":
            parts = [self.tensors(row, length, length) for length in row["lengths"]]
        else:
            parts = [self.tensors(row, row["dims"][3], row["dims"][4])]
        mask = self.mask(row)
        options = {"is_causal": row["causal"] and mask is None, "attn_mask": mask}
        if row["dims"][1] != row["dims"][2]:
            options["enable_gqa"] = True
        attend = torch.nn.functional.scaled_dot_product_attention

        def run():
            with torch.inference_mode():
                for query, key, value in parts:
                    attend(query, key, value, **options)

        return run

    def linear(self, row):
        return self.module(row, torch.nn.Linear(row["in"], row["out"]), row["rows"], row["in"])

    def layer(self, row):
        layer = torch.nn.TransformerEncoderLayer(
            row["width"], row["heads"], row["ffn_width"], activation=row["activation"],
            norm_first=row["norm_first"], batch_first=True,
        )
        return self.module(row, layer, row["batch"], row["length"], row["width"])

    def module(self, row, module, *shape):
        module = module.eval().to(DTYPES[row["dtype"]])  # a layer in training has no fast path
        embeddings = torch.randn(shape).to(DTYPES[row["dtype"]])

        def run():
            with torch.inference_mode():
                module(embeddings)

        return run

    def tensors(self, row, q_len, kv_len):
        batch, heads, kv_heads, _, _, head_dim, value_dim = row["dims"]
        if row["option"] == "ragged":
            batch = 1
        shapes = ((heads, q_len, head_dim), (kv_heads, kv_len, head_dim), (kv_heads, kv_len, value_dim))
        return [torch.randn(batch, *shape).to(DTYPES[row["dtype"]]) for shape in shapes]

    def mask(self, row):
        """What the library has no word for, as a mask or a bias."""
        _, heads, _, q_len, kv_len, _, _ = row["dims"]
        option = row["option"]
        if option in ("none", "ragged"):
            return None
        if q_len * kv_len > LARGEST_MASK:
            raise ValueError("its mask would take gigabytes")
        queries = torch.arange(q_len).unsqueeze(1) + (kv_len - q_len)
        keys = torch.arange(kv_len).unsqueeze(0)
        if option == "window":
            return (keys <= queries) & (keys > queries - row["window"])
        if option == "documents":
            return queries // row["document"] == keys // row["document"]
        if option in ("bool_mask", "bit_mask"):
            return torch.rand(q_len, kv_len) < 0.5
        if option == "bias":
            return torch.randn(q_len, kv_len)
        if option == "alibi":
            slopes = torch.rand(heads, 1, 1)
            return -slopes * (queries - keys).abs().float()
        raise ValueError(f"it has no {option}")
