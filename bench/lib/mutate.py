# SPDX-License-Identifier: GPL-2.0
"""
A mutator for C: seeds one small fault at a time into lines that a series adds.

All mutants of a file are compiled into one image, each behind a comparison with
a number that is given at boot (mutant=N); with no number the code is as it was.
Only whole statements and whole conditions are touched, which are found by
counting parentheses in a text whose comments and strings are blanked.

  negate   if (c) -> if (!(c)), also of while, of ?: in return, of && and ||
  drop     a call, an assignment or an increment that is a statement
  order    two neighbouring statements, one of them a call, change places
  bound    < and <=, > and >= in a condition
  return   return -E... -> return 0, return true -> return false
"""

import re
from dataclasses import dataclass

_KEYWORDS = {"if", "for", "while", "switch", "return", "else", "do", "goto", "case",
             "default", "break", "continue", "sizeof", "typeof"}
# Dropping these shows nothing: they log, assert, or tell tools about the code.
_SILENT = re.compile(r"(?:dev|pci|pr)_(?:err|warn|info|notice|dbg)\w*|WARN\w*|BUG_ON|lockdep_\w+|"
                     r"might_\w+|\w+_assert|kunit_\w+|KUNIT_\w+|BUILD_BUG\w*|trace_\w+|"
                     r"cpu_relax|touch_nmi_watchdog|printk\w*|cond_resched|EXPORT_\w+|"
                     r"MODULE_\w+|DEFINE_\w+|DECLARE_\w+|module_\w+|ATTRIBUTE_\w+|"
                     r"\w*for_each\w*|LIST_HEAD|XA_STATE\w*|guard|scoped_\w+")
_STATEMENT = re.compile(r"(?:[\w.>\[\]*&()-]+(?:->|\.))?\w+\s*"
                        r"(?:\(|\+\+|--|(?:[-+|&^]|<<|>>)?=[^=])")


@dataclass(frozen=True)
class Mutant:
    """One fault: @start to @end (offsets) of the file become @new."""
    file: str
    line: int
    kind: str
    start: int
    end: int
    new: str
    expression: bool    # else it is a statement

    def key(self, text, function):
        """What names it, also when lines move: file, @function, kind, old and new text."""
        def flat(part):
            return " ".join(part.split())
        return f"{self.file}: {function}: {self.kind}: {flat(text[self.start:self.end])}" + (
            f" -> {flat(self.new)}" if self.new and self.kind != "order" else "")


def blank(text):
    """@text with comments, strings and preprocessor lines as blanks, same length."""
    def spaces(match):
        return re.sub(r"[^\n]", " ", match[0])

    text = re.sub(r"/\*.*?\*/|//[^\n]*|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'", spaces, text,
                  flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", spaces, text, flags=re.M)


def closing(code, at):
    """Offset of the parenthesis that closes the one at @at, or -1."""
    depth = 0
    for pos in range(at, len(code)):
        depth += (code[pos] in "([{") - (code[pos] in ")]}")
        if depth == 0:
            return pos
    return -1


def _end_of_statement(code, at):
    """Offset of the ; that ends the statement at @at, or -1."""
    depth = 0
    for pos in range(at, len(code)):
        if code[pos] in "{}" and depth == 0:
            return -1
        depth += (code[pos] in "([{") - (code[pos] in ")]}")
        if depth < 0:
            return -1
        if code[pos] == ";" and depth == 0:
            return pos
    return -1


def _operators(condition):
    """(offset, operator) of what stands at the condition's own depth or below."""
    return [(m.start(), m[0]) for m in re.finditer(
        r"&&|\|\||(?<![<>=!-])(?:<=|>=|<|>)(?![<>=])", condition)]


def _conditions(code, lines):
    for match in re.finditer(r"\b(if|while)\s*\(", code):
        start = match.end() - 1
        end = closing(code, start)
        if end < 0 or code.count("\n", 0, start) + 1 not in lines:
            continue
        # A macro's argument may be a declaration or a statement expression
        if "{" in code[start:end] or ";" in code[start:end]:
            continue
        yield start + 1, end


def _function_bodies(code):
    """(start, end) of each function's body: a brace in the first column opens it."""
    for match in re.finditer(r"^\{", code, re.M):
        end = closing(code, match.start())
        if end > 0 and "(" in code[code.rfind("\n\n", 0, match.start()) + 1:match.start()]:
            yield match.start(), end


@dataclass(frozen=True)
class Function:
    """A function: from @start to @end (offsets), its head included."""
    name: str
    start: int
    end: int


def functions(code):
    """{number of a line: the Function that it is in}."""
    found = {}
    for start, end in _function_bodies(code):
        head = code.rfind("\n\n", 0, start) + 1
        name = re.search(r"(\w+)\s*\(", code[head:start])
        if name:
            function = Function(name[1], head, end + 1)
            for row in range(code.count("\n", 0, head) + 1, code.count("\n", 0, end) + 2):
                found[row] = function
    return found


def _statements(code, lines):
    """(start, end) of each statement that can be dropped, in the added @lines."""
    for body, body_end in _function_bodies(code):
        for match in re.finditer(r"(?:^|(?<=[;{}:)]))[ \t\n]*(?=[\w*(&])", code[body:body_end],
                                 re.M):
            start = body + match.end()
            word = re.match(r"\w*", code[start:])[0]
            if word in _KEYWORDS or not _STATEMENT.match(code, start) or _SILENT.match(word):
                continue
            # only at the start of a line: what follows "if (...)" is one, too
            bol = code.rfind("\n", 0, start) + 1
            if code[bol:start].strip():
                continue
            end = _end_of_statement(code, start)
            if end < 0 or end > body_end:
                continue
            # the line before has to end a statement, or "if (...)", not an expression
            before = code[body:bol].rstrip()
            if before and before[-1] not in ";{}:)" and not before.endswith("else"):
                continue
            if before.endswith(")") and re.search(r"^\s*(?:\w+\s+)+\**\w+\($", before):
                continue
            text = code[start:end]
            if _declaration(text):
                continue
            rows = range(code.count("\n", 0, start) + 1, code.count("\n", 0, end) + 2)
            if all(row in lines for row in rows):
                yield start, end + 1


def _declaration(text):
    """Is @text "type name ..." rather than a call or an assignment?"""
    return bool(re.match(r"(?:(?:static|const|struct|enum|union|unsigned|volatile)\b"
                         r"|[a-zA-Z_]\w*\s+\**[a-zA-Z_]\w*)", text))


def _unguarded(code, start):
    """Is the statement at @start one of a block, not the body of an if or a loop?"""
    before = code[:start].rstrip()
    return before.endswith((";", "{", "}"))


def mutants(name, text, lines):
    """The Mutants of the file @name whose @text has the added @lines (numbers)."""
    code = blank(text)
    found = []

    def add(kind, start, end, new, expression):
        found.append(Mutant(name, code.count("\n", 0, start) + 1, kind, start, end, new,
                            expression))

    for start, end in _conditions(code, lines):
        old = text[start:end]
        add("negate", start, end, f"!({old})", True)
        for at, operator in _operators(code[start:end]):
            other = {"&&": "||", "||": "&&", "<": "<=", "<=": "<", ">": ">=", ">=": ">"}[operator]
            add("bound" if operator[0] in "<>" else "negate", start, end,
                old[:at] + other + old[at + len(operator):], True)
    previous = None
    for start, end in _statements(code, lines):
        old = text[start:end]
        add("drop", start, end, "", False)
        block = _unguarded(code, start)
        if block and previous and previous[2] and not code[previous[1]:start].strip() \
           and previous[3].split("(")[0] != old.split("(")[0] \
           and "(" in previous[3] + old:
            add("order", previous[0], end, f"{old} {previous[3]}", False)
        previous = (start, end, block, old)
    for match in re.finditer(r"\breturn\s+(-E\w+|true|false)\s*;", code):
        if code.count("\n", 0, match.start()) + 1 in lines:
            add("return", match.start(1), match.end(1),
                {"true": "false", "false": "true"}.get(match[1], "0"), True)
    return found


def apply(text, chosen):
    """
    @text with the mutants @chosen, [(number, Mutant)], and those of them that
    overlap with one that is in and need another image. What mutates one and the
    same place is one chain.
    """
    taken, rest = [], []
    for number, mutant in sorted(chosen, key=lambda item: (item[1].start, item[1].end)):
        last = taken[-1] if taken else None
        if last and (mutant.start, mutant.end) == last[0]:
            last[1].append((number, mutant))
        elif last and mutant.start < last[0][1]:
            rest.append((number, mutant))
        else:
            taken.append(((mutant.start, mutant.end), [(number, mutant)]))
    for (start, end), chain in reversed(taken):
        old = text[start:end]
        if chain[0][1].expression:
            new = "".join(f"bench_mutant({n}) ? ({m.new}) : " for n, m in chain) + f"({old})"
        else:
            new = "do { " + "".join(f"if (bench_mutant({n})) {{ {m.new} }} else " for n, m in chain
                                    ) + "{ " + old + " } } while (0);"
        text = text[:start] + new.replace("\n", " ") + "\n" * old.count("\n") + text[end:]
    return text, rest
