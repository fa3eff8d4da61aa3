"""Writes a C++ header: what brings brood into an interpreter (python/brood/gateways/core/stage.py), of the same sources that Python uses.

usage: embed_stage.py FOLDER HEADER     FOLDER: python/brood/gateways/core
"""

import sys


def main(folder, header):
    sys.dont_write_bytecode = True
    package = type(sys)("brood_core")
    package.__path__ = [folder]
    sys.modules["brood_core"] = package
    from brood_core import stage, start

    lines = ["// Made from python/brood/gateways/core.", "#pragma once", "namespace brood::master {"]
    lines += [f'inline constexpr char {name}[] = R"brood_py({text})brood_py";' for name, text in (("kStage", stage.STAGE), ("kBoot", start.BOOT))]
    lines.append("inline constexpr unsigned char kPayload[] = {")
    payload = stage.payload()
    lines += [",".join(map(str, payload[at : at + 24])) + "," for at in range(0, len(payload), 24)]
    lines += ["};", "}  // namespace brood::master", ""]
    with open(header, "w", encoding="ascii") as file:
        file.write("\n".join(lines))


main(*sys.argv[1:])
