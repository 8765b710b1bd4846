"""ONNX Runtime's contributed operators MultiHeadAttention and GroupQueryAttention."""
import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper

DTYPES = {"f32": "float32", "f16": "float16"}
TYPES = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int32": TensorProto.INT32}


class Session:
    """One node with its inputs and outputs bound to memory of its own."""

    def __init__(self, row, operator, feed, inputs, outputs, **attributes):
        node = helper.make_node(operator, inputs, list(outputs), domain="com.microsoft", **attributes)
        graph = helper.make_graph(
            [node],
            "attention",
            [helper.make_tensor_value_info(n, TYPES[str(a.dtype)], a.shape) for n, a in feed.items()],
            [helper.make_tensor_value_info(n, TYPES[str(feed["query"].dtype)], None) for n in outputs],
        )
        opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = row["threads"]
        options.log_severity_level = 4  # refusals are answers
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.binding = self.session.io_binding()
        self.values = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in feed.items()}
        for name, value in self.values.items():
            self.binding.bind_ortvalue_input(name, value)
        for name, shared in outputs.items():
            if shared:  # the cache is extended where it lies, as servers do
                self.binding.bind_ortvalue_output(name, self.values[shared])
            else:
                self.binding.bind_output(name)

    def __call__(self):
        self.session.run_with_iobinding(self.binding)


class Peer:
    version = onnxruntime.__version__
    isa = "its own choice"

    def runner(self, row):
        if row.get("kind", "attention") != "attention":
            raise ValueError("no operator for that")
        _, heads, kv_heads, q_len, _, _, _ = row["dims"]
        if row["dtype"] not in DTYPES:
            raise ValueError("no bfloat16 on CPUs")
        if row["option"] == "window" or (heads != kv_heads and row["causal"]):
            return self.grouped_prefill(row)
        if heads != kv_heads and q_len == 1:
            return self.grouped_decode(row)
        if heads == kv_heads and row["dtype"] == "f32" and row["option"] in ("none", "bias"):
            return self.multi_head(row)
        raise ValueError("no operator for that")

    def random(self, row, *shape):
        return numpy.random.default_rng(1).standard_normal(shape, dtype="float32").astype(DTYPES[row["dtype"]])

    def multi_head(self, row):
        batch, heads, _, q_len, kv_len, head_dim, value_dim = row["dims"]
        feed = {"query": self.random(row, batch, q_len, heads * head_dim)}
        if head_dim == value_dim:  # the layout it computes in
            feed["key"] = self.random(row, batch, heads, kv_len, head_dim)
            feed["value"] = self.random(row, batch, heads, kv_len, value_dim)
        else:
            feed["key"] = self.random(row, batch, kv_len, heads * head_dim)
            feed["value"] = self.random(row, batch, kv_len, heads * value_dim)
        inputs = ["query", "key", "value"]
        if row["option"] == "bias":
            feed["bias"] = self.random(row, 1, 1, q_len, kv_len)
            inputs += ["", "", "bias"]
        return Session(
            row, "MultiHeadAttention", feed, inputs, {"output": None}, num_heads=heads,
            unidirectional=int(row["causal"]),
        )

    def grouped_prefill(self, row):
        batch, heads, kv_heads, q_len, kv_len, head_dim, _ = row["dims"]
        feed = {
            "query": self.random(row, batch, q_len, heads * head_dim),
            "key": self.random(row, batch, kv_len, kv_heads * head_dim),
            "value": self.random(row, batch, kv_len, kv_heads * head_dim),
            "seqlens_k": numpy.full((batch,), kv_len - 1, dtype="int32"),
            "total": numpy.array([kv_len], dtype="int32"),
        }
        window = {"local_window_size": row["window"]} if row["option"] == "window" else {}
        return Session(
            row, "GroupQueryAttention", feed, ["query", "key", "value", "", "", "seqlens_k", "total"],
            {"output": None, "present_key": None, "present_value": None},
            num_heads=heads, kv_num_heads=kv_heads, **window,
        )

    def grouped_decode(self, row):
        batch, heads, kv_heads, q_len, kv_len, head_dim, _ = row["dims"]
        feed = {
            "query": self.random(row, batch, q_len, heads * head_dim),
            "key": self.random(row, batch, q_len, kv_heads * head_dim),
            "value": self.random(row, batch, q_len, kv_heads * head_dim),
            "past_key": self.random(row, batch, kv_heads, kv_len, head_dim),
            "past_value": self.random(row, batch, kv_heads, kv_len, head_dim),
            "seqlens_k": numpy.full((batch,), kv_len - 1, dtype="int32"),
            "total": numpy.array([kv_len], dtype="int32"),
        }
        return Session(
            row, "GroupQueryAttention", feed,
            ["query", "key", "value", "past_key", "past_value", "seqlens_k", "total"],
            {"output": None, "present_key": "past_key", "present_value": "past_value"},
            num_heads=heads, kv_num_heads=kv_heads,
        )
