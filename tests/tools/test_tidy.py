#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""tools/tidy.py and tools/purity.py find what they are there to find: one planted offence per rule."""
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(sys.argv[1])
SPDX = "SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0"
HEAD = f"/* {SPDX} */\n"

# path, content, a piece of the message
OFFENCES = [
    ("store/a.c", HEAD + '#include "chaind/node.h"\n', "store/ must not include chaind/node"),
    ("chaind/a.c", HEAD + '#include "io/tcp.h"\n', "chaind/ must not include io/tcp"),
    ("chaind/command.c", HEAD + '#include "io/tcp.h"\n', "chaind/ must not include io/tcp"),
    ("store/cmd_a.c", HEAD + '#include "io/tcp.h"\n', "store/ must not include io/tcp"),
    ("client/a.c", HEAD + "#include <unistd.h>\n", "touch the operating system"),
    ("lib/a.c", HEAD + "int f(void)\n{\n\treturn atoi(x);\n}\n", "atoi() is banned"),
    ("lib/b.c", HEAD + "int f(void)\n{\n" + "\tx++;\n" * 80 + "}\n", "function of 81 lines"),
    ("lib/c.c", HEAD + "\n" * 700, "701 lines"),
    ("lib/d.c", HEAD + "/*" + "x" * 120 + "*/\n", "longer than 100 columns"),
    ("lib/e.c", "int x;\n", "first line must say"),
    ("lib/f.h", HEAD + "#ifndef F\n#endif\n", "opens with an essay"),
    ("lib/g.c", HEAD + "/* TO" "DO: later */\n", "a note to oneself"),
    ("tools/h.py", f"# {SPDX}\ndef f():\n" + "    x = 1\n" * 80, "function f of 80 lines"),
    ("docs/i.md", "see [there](NOWHERE.md)\n", "link to NOWHERE.md"),
    ("docs/FAILURES.md", "| rot | found | `test_no" "where` |\n", "which is no test"),
    ("lib/j.c", HEAD + "/* docs/NO" "WHERE.md */\n", "names docs/NO" "WHERE.md"),
]
INNOCENT = {
    "chaind/main.c": HEAD + '#include "io/tcp.h"\n#include <unistd.h>\n',
    "chaind/cmd_a.c": HEAD + '#include "io/tcp.h"\n#include <unistd.h>\n',
    "tests/unit/t.c": HEAD + '#include "store/a.h"\n#include "io/tcp.h"\n',
    "lib/k.c": HEAD + "/* never call atoi(x) or time(NULL) */\nint runtime(void);\n",
}


def findings(files):
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            path = pathlib.Path(folder) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        done = subprocess.run([sys.executable, str(ROOT / "tools" / "tidy.py"), folder], text=True,
                              capture_output=True)
        lines = [line for line in done.stdout.splitlines() if "no longer needed" not in line]
        return [line for line in lines if line != "tidy"]


def impure():
    """A library of the name purity.py looks at, with a call it must not have."""
    with tempfile.TemporaryDirectory() as folder:
        lib = pathlib.Path(folder) / "store"
        lib.mkdir()
        (lib / "a.c").write_text("#include <stdlib.h>\nvoid *f(void);\nvoid *f(void) { return malloc(9); }\n")
        subprocess.run(["cc", "-c", "-fno-builtin", "-o", str(lib / "a.o"), str(lib / "a.c")], check=True)
        subprocess.run(["ar", "rcs", str(lib / "libstore.a"), str(lib / "a.o")], check=True)
        done = subprocess.run([sys.executable, str(ROOT / "tools" / "purity.py"), folder], text=True,
                              capture_output=True)
        assert done.returncode == 1 and "malloc" in done.stdout, done.stdout


def main():
    assert findings(INNOCENT) == [], findings(INNOCENT)
    for path, content, message in OFFENCES:
        found = findings({path: content})
        assert any(line.startswith(path) and message in line for line in found), \
            f"{message!r} was not found in {path}: {found}"
    impure()
    print(f"{len(OFFENCES) + 1} offences found")


main()
