"""GPUs of GKE's nodes by short names.

Source, read 2026-11-27: cloud.google.com/kubernetes-engine/docs/how-to/gpus.
"""

LABELS = {
    "a100-40gb": "nvidia-tesla-a100",
    "a100-80gb": "nvidia-a100-80gb",
    "h100-80gb": "nvidia-h100-80gb",
    "h100-mega-80gb": "nvidia-h100-mega-80gb",
    "h200-141gb": "nvidia-h200-141gb",
}
"""Name → value of the node label cloud.google.com/gke-accelerator."""
