#!/usr/bin/python3
"""Makes a C++ source of a folder of files: the table that src/http/page.h declares.

usage: tools/embed_page.py <folder> <output.cc>

The bytes themselves are included by the assembler, so compiling takes no time. Packed variants
are written beside the output.
"""

import gzip
import hashlib
import pathlib
import sys

TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".png": "image/png",
    ".woff2": "font/woff2",
}

# The page loads nothing from elsewhere and may be framed by nobody.
PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; font-src 'self'; frame-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

# The frame for the HTML of cells: its scripts run, in an origin of their own, without network.
FRAME_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; media-src data: blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)

HEAD = """// Made by tools/embed_page.py.
#include "http/page.h"

#define BROOD_INCLUDE(name, file)                                \\
  asm(".pushsection .rodata\\n.balign 16\\n.global " #name "\\n" \\
      ".type " #name ", @object\\n" #name ":\\n.incbin \\"" file "\\"\\n" \\
      ".size " #name ", . - " #name "\\n.popsection\\n")

"""


def text(value):
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'


def describe(path, folder, packed_folder, index):
    """The source of one file: its declarations, and its line of the table."""
    data = path.read_bytes()
    name = f"brood_page_{index}"
    address = "/" + path.relative_to(folder).as_posix()
    if path.suffix not in TYPES:
        sys.exit(f"embed_page.py: no content type for {path.name}; add its suffix to TYPES")
    declarations = [f"BROOD_INCLUDE({name}, {text(str(path))});\nextern \"C\" const char {name}[];"]
    packed = gzip.compress(data, 9, mtime=0)
    gzip_view = "{}"
    if len(packed) < 0.9 * len(data):
        packed_path = packed_folder / f"{index}.gz"
        packed_path.write_bytes(packed)
        declarations.append(f"BROOD_INCLUDE({name}_gzip, {text(str(packed_path))});\n"
                            f"extern \"C\" const char {name}_gzip[];")
        gzip_view = f"{{{name}_gzip, {len(packed)}}}"
    etag = '"' + hashlib.sha256(data).hexdigest()[:24] + '"'
    policy = FRAME_POLICY if address == "/frame.html" else PAGE_POLICY
    named_by_content = address.startswith("/assets/")
    cache = "public, max-age=31536000, immutable" if named_by_content else "no-cache"
    if address == "/index.html":
        address = "/"
    line = (f"  {{{text(address)}, {text(TYPES[path.suffix])}, {text(etag)}, "
            f"{{{name}, {len(data)}}}, {gzip_view}, {text(policy)}, {text(cache)}}},")
    return address, "\n".join(declarations), line


def main():
    folder = pathlib.Path(sys.argv[1]).resolve()
    output = pathlib.Path(sys.argv[2]).resolve()
    packed_folder = output.parent / "packed"
    packed_folder.mkdir(parents=True, exist_ok=True)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if not paths:
        sys.exit(f"embed_page.py: {folder} is empty; is the page built?")
    made = sorted(describe(path, folder, packed_folder, i) for i, path in enumerate(paths))
    output.write_text(
        HEAD + "\n".join(declarations for _, declarations, _ in made)
        + "\n\nnamespace brood {\nnamespace {\nconstexpr PageFile kFiles[] = {\n"
        + "\n".join(line for _, _, line in made)
        + "\n};\n}  // namespace\n\nstd::span<const PageFile> page_files() { return kFiles; }\n"
        "}  // namespace brood\n")


if __name__ == "__main__":
    main()
