"""Names the processor of this machine, for tables of times."""

from __future__ import annotations

import platform
from pathlib import Path

__all__ = ["processor"]

CPU_INFO = Path("/proc/cpuinfo")
# Instruction sets that decide the speed of networks, as Linux names them.
INSTRUCTIONS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8")


def processor() -> str:
    """Returns the processor's name and, where the system lists them, its instruction sets for networks."""
    if not CPU_INFO.is_file():
        return platform.processor() or platform.machine()
    fields = dict[str, str]()
    for line in CPU_INFO.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or platform.machine()
    found = set(fields.get("flags", fields.get("Features", "")).split())
    sets = ", ".join(name for name in INSTRUCTIONS if name in found)
    return f"{name} ({sets})" if sets else name
