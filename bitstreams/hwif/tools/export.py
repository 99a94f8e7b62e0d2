#!/usr/bin/env python3
"""Generate every view of the register map from rdl/card.rdl.

    export.py            write the views
    export.py --check    compare them with what is committed; exit 1 and show the difference

Views: src/regs/fields.rs (typed registers, offsets within a block: the driver's),
src/regs/card.rs (decoding of absolute offsets: the card's), ../rtl/faam_regs_pkg.sv,
../doc/registers.md. Needs systemrdl-compiler (requirements.txt).
"""

import argparse
import difflib
import hashlib
import json
import pathlib
import subprocess
import sys

from systemrdl import RDLCompiler
from systemrdl.node import RegNode

HERE = pathlib.Path(__file__).resolve().parent.parent
SOURCE = HERE / "rdl/card.rdl"
GOLDEN = sorted((HERE / "golden").glob("*.hex"))
NOTE = "Generated from bitstreams/hwif/rdl/card.rdl by tools/export.py. Edit there; run `make regs`."


def elaborate():
    """The map as plain data: blocks -> registers -> fields."""
    compiler = RDLCompiler()
    compiler.compile_file(str(SOURCE))
    top = compiler.elaborate().top
    blocks = []
    for regfile in top.children():
        registers = []
        for reg in regfile.children():
            if not isinstance(reg, RegNode):
                sys.exit(f"{SOURCE}: {reg.inst_name}: a block holds registers only")
            fields = []
            for field in reg.fields():
                fields.append({
                    "name": field.inst_name,
                    "low": field.low,
                    "high": field.high,
                    "reset": field.get_property("reset") or 0,
                    "read": field.is_sw_readable,
                    "write": field.is_sw_writable,
                    "desc": field.get_property("desc"),
                })
            registers.append({
                "name": reg.inst_name,
                "offset": reg.address_offset,
                "desc": reg.get_property("desc"),
                "access": {(True, False): "ReadOnly", (False, True): "WriteOnly", (True, True): "ReadWrite"}[
                    (reg.has_sw_readable, reg.has_sw_writable)],
                "fields": sorted(fields, key=lambda f: f["low"]),
            })
        blocks.append({
            "name": regfile.inst_name,
            "title": regfile.get_property("name"),
            "desc": regfile.get_property("desc"),
            "offset": regfile.address_offset,
            "type": regfile.get_property("faam_block"),
            "version": regfile.get_property("faam_block_version"),
            "registers": sorted(registers, key=lambda r: r["offset"]),
        })
    for block, following in zip(blocks, blocks[1:] + [None]):
        block["next"] = following["offset"] if following else 0
        for reg in block["registers"]:
            for field in reg["fields"]:
                if reg["name"] == "BLOCK_HEADER":
                    field["reset"] = block["type"] if field["name"] == "block_type" else block["version"]
                if reg["name"] == "BLOCK_NEXT":
                    field["reset"] = block["next"]
            reg["reset"] = sum(f["reset"] << f["low"] for f in reg["fields"])
    return top.get_property("desc"), blocks


def uuid_words(blocks):
    """Interface uuid: names and prose aside, whatever changes what bits mean changes it."""
    shape = [[b["type"], b["version"], b["offset"], [
        [r["name"], r["offset"], r["access"], r["reset"], [[f["name"], f["low"], f["high"]] for f in r["fields"]]]
        for r in b["registers"]]] for b in blocks]
    digest = hashlib.sha256(json.dumps(shape, separators=(",", ":")).encode())
    for path in GOLDEN:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    raw = digest.digest()[:16]
    return [int.from_bytes(raw[i:i + 4], "little") for i in range(0, 16, 4)]


def camel(name):
    return "".join(part.capitalize() for part in name.lower().split("_"))


def rust_fields(blocks, uuid):
    out = [f"// {NOTE}", "", "use super::{Access, BlockType, Register};", "",
           "/// First 16 bytes of the SHA-256 over the map's bits and the golden entries, as four little-endian words.",
           "pub const INTERFACE_UUID: [u32; 4] = [" + ", ".join(f"0x{w:08x}" for w in uuid) + "];"]
    for block in blocks:
        name = block["title"]
        out += ["", f"/// {block['desc']}", f"pub mod {block['name']} {{", "use super::{Access, BlockType, Register};", "",
                f"/// Type of the {name} block in the list of blocks.",
                f"pub const BLOCK_TYPE: BlockType = BlockType({block['type']});",
                "/// Layout version that this file describes.", f"pub const VERSION: u8 = {block['version']};",
                "/// Bytes from the block's start to the end of its last register.",
                f"pub const BYTES: u32 = 0x{block['registers'][-1]['offset'] + 4:x};"]
        for reg in block["registers"]:
            ty = camel(reg["name"])
            out += ["", f"/// {reg['desc']}", "#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]", f"pub struct {ty}(pub u32);", "",
                    f"impl Register for {ty} {{", "const BLOCK: BlockType = BLOCK_TYPE;", f"const OFFSET: u32 = 0x{reg['offset']:02x};",
                    f"const ACCESS: Access = Access::{reg['access']};", f"const RESET: u32 = 0x{reg['reset']:08x};",
                    "fn from_bits(bits: u32) -> Self { Self(bits) }", "fn bits(self) -> u32 { self.0 }", "}", "", f"impl {ty} {{"]
            for field in reg["fields"]:
                width = field["high"] - field["low"] + 1
                mask = (1 << width) - 1
                low, fname = field["low"], field["name"]
                shifted = f"self.0 >> {low}" if low else "self.0"
                spot = f"0x{mask << low:08x}"
                out.append(f"/// {field['desc']} Bits {field['high']}:{field['low']}.")
                if width == 1:
                    out += ["#[must_use]", f"pub const fn {fname}(self) -> bool {{ self.0 & {spot} != 0 }}",
                            f"/// Copy with `{fname}` set to `on`.", "#[must_use]",
                            f"pub const fn with_{fname}(self, on: bool) -> Self {{ Self(if on {{ self.0 | {spot} }} else {{ self.0 & !{spot} }}) }}"]
                elif width == 32:
                    out += ["#[must_use]", f"pub const fn {fname}(self) -> u32 {{ self.0 }}",
                            f"/// Copy with `{fname}` set to `bits`.", "#[must_use]",
                            f"pub const fn with_{fname}(self, bits: u32) -> Self {{ let _ = self; Self(bits) }}"]
                else:
                    out += ["#[must_use]", f"pub const fn {fname}(self) -> u32 {{ ({shifted}) & 0x{mask:x} }}".replace("(self.0)", "self.0"),
                            f"/// Copy with `{fname}` set to the low {width} bits of `bits`.", "#[must_use]",
                            f"pub const fn with_{fname}(self, bits: u32) -> Self {{ Self(self.0 & !{spot} | (bits & 0x{mask:x}){f' << {low}' if low else ''}) }}"]
            out.append("}")
        out.append("}")
    out += ["", "#[cfg(test)]", "mod tests {", "use super::*;", "#[test]", "fn block_headers_carry_their_own_type() {"]
    for block in blocks:
        out.append(f"assert_eq!({block['name']}::BlockHeader(<{block['name']}::BlockHeader as Register>::RESET).block_type(), u32::from({block['name']}::BLOCK_TYPE.0));")
    out += ["}", "}"]
    return "\n".join(out) + "\n"


def rust_card(blocks):
    regs = [(b, r) for b in blocks for r in b["registers"]]
    out = [f"// {NOTE}", "", "use super::Access;", "",
           "/// Every register of BAR0 outside the per-queue areas, as a card decodes it.",
           "#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]", "pub enum CardRegister {"]
    for b, r in regs:
        out += [f"/// {b['title']}.{r['name']}: {r['desc']}", f"{camel(b['name'])}{camel(r['name'])},"]
    out += ["}", "", "impl CardRegister {", "/// All of them, by rising offset.",
            f"pub const ALL: [Self; {len(regs)}] = [" + ", ".join(f"Self::{camel(b['name'])}{camel(r['name'])}" for b, r in regs) + "];", "",
            "/// The register at `offset` (bytes from the start of BAR0), if one starts there.", "#[must_use]",
            "pub const fn at(offset: u32) -> Option<Self> {", "match offset {"]
    out += [f"0x{b['offset'] + r['offset']:03x} => Some(Self::{camel(b['name'])}{camel(r['name'])})," for b, r in regs]
    out += ["_ => None,", "}", "}", "", "/// Byte offset in BAR0.", "#[must_use]", "pub const fn offset(self) -> u32 {", "match self {"]
    out += [f"Self::{camel(b['name'])}{camel(r['name'])} => 0x{b['offset'] + r['offset']:03x}," for b, r in regs]
    out += ["}", "}", "", "/// Who may do what with it.", "#[must_use]", "pub const fn access(self) -> Access {", "match self {"]
    for access in ("ReadOnly", "WriteOnly", "ReadWrite"):
        names = [f"Self::{camel(b['name'])}{camel(r['name'])}" for b, r in regs if r["access"] == access]
        if names:
            out.append(" | ".join(names) + f" => Access::{access},")
    out += ["}", "}", "", "/// Value after reset, as far as the map fixes it.", "#[must_use]", "pub const fn reset(self) -> u32 {", "match self {"]
    out += [f"Self::{camel(b['name'])}{camel(r['name'])} => 0x{r['reset']:08x}," for b, r in regs if r["reset"]]
    out += ["_ => 0,", "}", "}", "}"]
    return "\n".join(out) + "\n"


def system_verilog(blocks, uuid):
    out = [f"// {NOTE}", "package faam_regs_pkg;",
           "  localparam logic [127:0] INTERFACE_UUID = 128'h" + "".join(f"{w:08x}" for w in reversed(uuid)) + ";"]
    for b in blocks:
        out += ["", f"  // {b['title']}: {b['desc']}", f"  localparam logic [31:0] {b['title']}_OFFSET = 32'h{b['offset']:08x};"]
        for r in b["registers"]:
            base = f"{b['title']}_{r['name']}"
            out += [f"  localparam logic [31:0] {base}_OFFSET = 32'h{b['offset'] + r['offset']:08x};",
                    f"  localparam logic [31:0] {base}_RESET = 32'h{r['reset']:08x};",
                    "  typedef struct packed {"]
            at = 31
            for f in reversed(r["fields"]):
                if f["high"] < at:
                    out.append(f"    logic [{at - f['high'] - 1}:0] reserved_{f['high'] + 1};")
                out.append(f"    logic [{f['high'] - f['low']}:0] {f['name']};")
                at = f["low"] - 1
            if at >= 0:
                out.append(f"    logic [{at}:0] reserved_0;")
            out.append(f"  }} {base.lower()}_t;")
    out += ["endpackage"]
    return "\n".join(out) + "\n"


def manual(desc, blocks, uuid):
    raw = b"".join(w.to_bytes(4, "little") for w in uuid).hex()
    out = [f"<!-- {NOTE} -->", "# Registers of a FaaM card function", "", desc, "",
           f"Interface uuid: `{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}`", "",
           "| offset | block | type | version |", "|---|---|---|---|"]
    out += [f"| 0x{b['offset']:03X} | {b['title']} | {b['type']} | {b['version']} |" for b in blocks]
    access = {"ReadOnly": "RO", "WriteOnly": "WO", "ReadWrite": "RW"}
    for b in blocks:
        out += ["", f"## {b['title']}", "", b["desc"], "", "| offset | register | access | reset | bits | field | meaning |", "|---|---|---|---|---|---|---|"]
        for r in b["registers"]:
            out.append(f"| 0x{b['offset'] + r['offset']:03X} | **{r['name']}** | {access[r['access']]} | 0x{r['reset']:08X} | | | {r['desc']} |")
            out += [f"| | | | | {f['high']}:{f['low']} | {f['name']} | {f['desc']} |" for f in r["fields"]]
    return "\n".join(out) + "\n"


def formatted(text):
    """Through rustfmt, so that the committed file is what `cargo fmt` leaves alone."""
    run = subprocess.run(["rustfmt", "--edition", "2024", "--emit", "stdout"], input=text, capture_output=True, text=True, cwd=HERE)
    if run.returncode:
        sys.exit(f"rustfmt refused the generated code:\n{run.stderr}")
    return run.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    check = parser.parse_args().check
    desc, blocks = elaborate()
    uuid = uuid_words(blocks)
    views = {
        HERE / "src/regs/fields.rs": formatted(rust_fields(blocks, uuid)),
        HERE / "src/regs/card.rs": formatted(rust_card(blocks)),
        HERE.parent / "rtl/faam_regs_pkg.sv": system_verilog(blocks, uuid),
        HERE.parent / "doc/registers.md": manual(desc, blocks, uuid),
    }
    stale = 0
    for path, text in views.items():
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            continue
        committed = path.read_text() if path.exists() else ""
        if committed != text:
            stale += 1
            sys.stderr.writelines(difflib.unified_diff(
                committed.splitlines(True), text.splitlines(True), f"{path} (committed)", f"{path} (from card.rdl)"))
    if stale:
        sys.exit(f"{stale} generated view(s) differ from card.rdl: run `make regs` and commit")
    print(f"register views {'agree' if check else 'written'}: {len(views)}")


if __name__ == "__main__":
    main()
