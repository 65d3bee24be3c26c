#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Checks of the tree itself: include direction, lengths, banned calls, licences, essays, links.

Run by `meson test --suite tidy`, or by hand: tools/tidy.py [ROOT]. Prints `path:line: message` and
exits 1 on any finding. An exception is a line in EXCEPTIONS, with its reason.
"""
import ast
import fnmatch
import pathlib
import re
import subprocess
import sys

# Which folder may include which. The whole architecture in one table (docs/ARCHITECTURE.md).
# tests/ may include anything.
MAY_INCLUDE = {
    "lib": {"lib"},
    "io": {"lib", "io"},
    "store": {"lib", "store"},
    "client": {"lib", "client"},
    "libchainblk": {"lib", "client", "libchainblk"},
    "chaind": {"lib", "store", "chaind", "erasure/codec", "erasure/pack", "erasure/stripe_format"},
    "cfgsvc": {"lib", "cfgsvc"},
    "erasure": {"lib", "client", "libchainblk", "erasure"},
    "tcmu-handler": {"lib", "libchainblk", "tcmu-handler"},
    "nbd-plugin": {"lib", "libchainblk", "nbd-plugin"},
    "cli": {"lib", "libchainblk", "cli", "erasure/codec", "erasure/pack", "erasure/stripe_format"},
    "sim": {"lib", "client", "store", "chaind", "cfgsvc", "erasure", "sim"},
}
# Files that wire real I/O to pure code: they may also include io/ and the system's headers.
WIRING = {"*/main.c", "*/loop.c", "chaind/cmd_*.[ch]"}
SYSTEM_ONLY_IN_IO = re.compile(r"<(liburing|fcntl|unistd|sys/socket|netinet/.*|pthread)\.h>")
BANNED = {"strcpy": "snprintf", "strcat": "snprintf", "sprintf": "snprintf", "atoi": "opt_u64",
          "rand": "env rng", "time": "env clock", "alloca": "a bounded array"}
FILE_LINES_MAX, FUNCTION_LINES_MAX, COLUMNS_MAX = 600, 70, 100
SPDX = "SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0"

# (path, rule): why it is right there. Rules: include system banned length function columns essay.
EXCEPTIONS = {
    ("tcmu-handler/tcmu.h", "system"): "tcmu-runner.h uses pthread types without including them",
}


def tracked(root):
    """Files git knows or would add; without git, all that are not in a build folder."""
    listing = subprocess.run(["git", "-C", str(root), "ls-files", "-co", "--exclude-standard"],
                             capture_output=True, text=True)
    if listing.returncode == 0:
        names = [pathlib.Path(name) for name in listing.stdout.splitlines()]
    else:
        names = [path.relative_to(root) for path in root.rglob("*") if path.is_file()]
        names = [name for name in names if not name.parts[0].startswith(("build", ".git"))]
    return sorted(name for name in names if (root / name).is_file())


def without_comments(text):
    """The C text with comments and literals blanked, line numbers kept."""
    blank = lambda match: re.sub(r"[^\n]", " ", match[0])
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, blank, text, flags=re.DOTALL)


def check_includes(name, lines):
    folder = name.parts[0]
    wiring = any(fnmatch.fnmatch(name, pattern) for pattern in WIRING)
    if folder not in MAY_INCLUDE:
        return
    for number, line in enumerate(lines, 1):
        include = re.match(r'#include "(([^/"]+)/[^/".]+)', line)
        if include and not MAY_INCLUDE[folder] & {include[1], include[2]}:
            if not (include[2] == "io" and wiring):
                yield number, "include", f"{folder}/ must not include {include[1]}"
        if folder != "io" and not wiring and line.startswith("#include <"):
            if SYSTEM_ONLY_IN_IO.search(line):
                yield number, "system", "only io/ and wiring files touch the operating system"


def check_c(name, text):
    lines = text.splitlines()
    yield from check_includes(name, lines)
    if name.suffix == ".h" and not re.match(r"/\* [\w./-]+ - ", lines[1] if len(lines) > 1 else ""):
        yield 2, "essay", "a header opens with an essay: `/* name - what it is, invariants, ownership`"
    start = None
    for number, (line, code) in enumerate(zip(lines, without_comments(text).splitlines()), 1):
        for call, instead in BANNED.items():
            if re.search(rf"(?<![\w>.]){call}\s*\(", code):
                yield number, "banned", f"{call}() is banned, use {instead}"
        if len(line.expandtabs(8)) > COLUMNS_MAX:
            yield number, "columns", f"longer than {COLUMNS_MAX} columns"
        if line == "{":
            start = number
        elif line.startswith("}") and start:
            if number - start > FUNCTION_LINES_MAX:
                yield (start, "function",
                       f"function of {number - start} lines, the limit is {FUNCTION_LINES_MAX}")
            start = None


def check_python(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno > FUNCTION_LINES_MAX:
            yield (node.lineno, "function", f"function {node.name} of {node.end_lineno - node.lineno}"
                   f" lines, the limit is {FUNCTION_LINES_MAX}")


def check_markdown(root, name, text):
    for number, line in enumerate(text.splitlines(), 1):
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", line):
            if not re.match(r"\w+:", target) and not (root / name.parent / target).exists():
                yield number, "link", f"link to {target}, which does not exist"
        for target in re.findall(r"`((?:tests|tools|docs)/[\w/.-]+\.\w+)`", line):
            if not (root / target).exists():
                yield number, "link", f"names {target}, which does not exist"


def check_failures(root, text):
    """docs/FAILURES.md: what is said to show a fault is a test, a program or a plant under tests/."""
    words = set()
    for path in (root / "tests").rglob("*"):
        if path.suffix in {".c", ".py", ".sh", ".build"}:
            words |= set(re.findall(r"\w+", path.read_text())) | {path.stem}
    for number, line in enumerate(text.splitlines(), 1):
        cells = line.split("|")
        for name in re.findall(r"`(\w+)`", cells[3]) if len(cells) == 5 else []:
            if name not in words:
                yield number, "link", f"names {name}, which is no test"


def check_common(name, lines):
    first = lines[1] if lines and lines[0].startswith("#!") and len(lines) > 1 else lines[0] if lines else ""
    if SPDX not in first:
        yield 1, "spdx", f"the first line must say {SPDX}"
    if len(lines) > FILE_LINES_MAX:
        yield 1, "length", f"{len(lines)} lines, the limit is {FILE_LINES_MAX}: split the module"
    for number, line in enumerate(lines, 1):
        if re.search(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", line):
            yield number, "bare", "a note to oneself: do it, or file it"
        for target in re.findall(r"\b(docs/[A-Z]+\.md)\b", line):
            yield number, "docs", target


def check(root, name):
    try:
        text = (root / name).read_text()
    except UnicodeDecodeError:
        return  # golden bytes, corpus
    source = name.suffix in {".c", ".h", ".py", ".sh"} or text.startswith("#!") or name.name == "meson.build"
    if source:
        for number, rule, message in check_common(name, text.splitlines()):
            if rule != "docs":
                yield number, rule, message
            elif not (root / message).exists():
                yield number, "link", f"names {message}, which does not exist"
    if name.suffix in {".c", ".h"}:
        yield from check_c(name, text)
    if name.suffix == ".py":
        yield from check_python(text)
    if name.suffix == ".md":
        yield from check_markdown(root, name, text)
    if name.name == "FAILURES.md":
        yield from check_failures(root, text)


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    found, used = [], set()
    for name in tracked(root):
        if "corpus" in name.parts or name.parts[0] == "LICENSES" or name.suffix in {".bin", ".txt", ".png"}:
            continue
        for number, rule, message in check(root, name):
            if (str(name), rule) in EXCEPTIONS:
                used.add((str(name), rule))
            else:
                found.append(f"{name}:{number}: {message}")
    found += [f"tools/tidy.py: exception {path} ({rule}) is no longer needed"
              for path, rule in EXCEPTIONS if (path, rule) not in used]
    print("\n".join(found) or "tidy")
    return 1 if found else 0


sys.exit(main())
