# SPDX-License-Identifier: BSD-2-Clause
"""Finds, in the disassembly of row kernels, inner loops that use the stack: sums that the compiler spilled."""
import re
import subprocess

PRODUCTS = re.compile(r"(\{vex\} *)?(vpdpbusd|vpdpwssd|vpmaddwd|vdpbf16ps|vfmadd\w+ps|fmla|sdot|smlal2?)\b")
TILE = re.compile(r"^(?:f32|q8|bf16)_(?:f32|q8|bf16)_(?:.*_)?(\d+)h?x(\d+)$")
JUMP = re.compile(r"(?:j\w+|b(?:\.\w+)?|cbn?z|tbn?z)\s+(?:\w+, )*(?:#\d+, )?(?:0x)?([0-9a-f]+)\b")


def functions(path, objdump):
    """Yields each function's name and its (address, instruction) pairs."""
    text = subprocess.run([objdump, "-d", "--no-show-raw-insn", path], check=True,
                          capture_output=True, text=True).stdout
    for part in re.split(r"\n(?=[0-9a-f]+ <)", text):
        head = re.match(r"\s*[0-9a-f]+ <(.*)>:", part)
        if head:
            yield head[1], [(int(m[1], 16), m[2]) for m in
                            re.finditer(r"^ *([0-9a-f]+):\t(.*)$", part, re.M)]


# What comes after the sums: such code may lie out of the way, and jump back to where it belongs.
FINISH = re.compile(r"(vcvtdq2ps|vcvtps2dq|scvtf|fcvtns)\b")


def loops(code):
    """Innermost loops: what a backward jump spans, without another such span, a return, or what
    finishes a value."""
    spans = []
    for address, instruction in code:
        jump = JUMP.match(instruction)
        if jump and code[0][0] <= int(jump[1], 16) <= address:
            spans.append((int(jump[1], 16), address))
    for low, high in spans:
        body = [text for address, text in code if low <= address <= high]
        inside = any(low <= a and b <= high and (a, b) != (low, high) for a, b in spans)
        if not inside and not any(re.match(r"ret", text) or FINISH.match(text) for text in body):
            yield body


def of_stack(code):
    """What an instruction that uses the stack looks like."""
    framed = any(re.match(r"mov +%rsp,%rbp", text) for _, text in code)
    return re.compile(r"\(%rsp|\[sp" + (r"|\(%rbp" if framed else ""))


def check(path, objdump="objdump"):
    """The number of tiles looked at, and a list of complaints."""
    tiles, bad = 0, []
    for name, code in functions(path, objdump):
        tile = TILE.match(name)
        if not tile:
            continue
        tiles += 1
        stack = of_stack(code)
        products = int(tile[1]) * int(tile[2])
        looked_at = False
        for body in loops(code):
            if sum(bool(PRODUCTS.match(text)) for text in body) >= products:
                looked_at = True
                bad += [f"{name}: {text}" for text in body if stack.search(text)]
        if not looked_at:
            bad.append(f"{name}: no loop with {products} products")
    return tiles, bad


def check_winograd(path, objdump="objdump"):
    """The number of products in the innermost loops of Winograd's matrices, and a list of complaints."""
    count, bad = 0, []
    for name, code in functions(path, objdump):
        stack = of_stack(code)
        for body in loops(code) if name == "products" or name.startswith("sums_") else ():
            products = sum(bool(PRODUCTS.match(text)) for text in body)
            count += products
            bad += [f"{name}: {text}" for text in body if products and stack.search(text)]
    return count, bad
