"""Writes cases.json: small templates, and what the Python reference makes of each.

The reference is jinja2 3.1.6 in the environment that chat templates get: sandboxed, blocks trimmed,
loop controls, a tojson that does not escape HTML, and a block that notes what the assistant says.

    python3 render_cases.py > ../resources/espalier/text/jinja/cases.json
"""

import datetime
import json
import sys

import jinja2
from jinja2 import nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

NOW = datetime.datetime(2026, 3, 5, 7, 8, 9, 12)
spans = []
written = []


class Generation(Extension):
    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return nodes.CallBlock(self.call_method("note"), [], [], body).set_lineno(line)

    def note(self, caller):
        text = caller()
        start = len("".join(written))
        spans.append([start, start + len(text)])
        return text


def tojson(x, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def raise_exception(message):
    raise jinja2.exceptions.TemplateError(message)


class Dict:
    def __call__(self, *args, **kwargs):
        return dict(*args, **kwargs)

    def fromkeys(self, *args, **kwargs):
        return dict.fromkeys(*args, **kwargs)


class Namespace(jinja2.utils.Namespace):
    def __init__(*args, **kwargs):
        self, args = args[0], args[1:]
        fields = dict(*args, **kwargs)
        for name in fields:
            Namespace.check(name)
        jinja2.utils.Namespace.__init__(self, fields)

    def __setitem__(self, name, value):
        Namespace.check(name)
        jinja2.utils.Namespace.__setitem__(self, name, value)

    @staticmethod
    def check(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)


env = ImmutableSandboxedEnvironment(
    trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
)
env.filters["tojson"] = tojson
env.globals["raise_exception"] = raise_exception
env.globals["strftime_now"] = NOW.strftime
env.globals["dict"] = Dict()
env.globals["namespace"] = Namespace

VARIABLES = {
    "s": "Hello, World",
    "sp": "  two  words\t",
    "uni": "Straße ÉCOLE 日本 😀x",
    "emoji": "a😀b😀c",
    "html": "<b>'x' & \"y\"</b>",
    "lines": "one\ntwo\r\n\nfour",
    "empty": "",
    "n": 7,
    "neg": -3,
    "f": 2.5,
    "big": 9007199254740993,
    "yes": True,
    "no": False,
    "nothing": None,
    "xs": [3, 1, 2],
    "words": ["pear", "Apple", "fig", "apple"],
    "nested": [[1, 2], [3, [4, 5]]],
    "d": {"b": 1, "a": "x", "items": "shadow", "C": None},
    "people": [
        {"name": "Ann", "age": 31, "tags": ["x"], "home": {"city": "Bern"}},
        {"name": "bob", "age": 7, "tags": []},
        {"name": "Cy", "age": 31, "tags": ["x", "y"], "home": {"city": "Oslo"}},
    ],
    "mixed": [1, "1", 1.0, True, None, [1], {"k": 1}],
    "tool": {"type": "function", "function": {"name": "f", "arguments": {"city": "Köln", "n": 1, "x": 1.5e-7, "ok": True, "z": None, "q": "\"\\\n\t\u0001é"}}},
}


def expressions(*sources):
    return ["{{ " + source + " }}" for source in sources]


TEMPLATES = []
TEMPLATES += expressions(
    # literals
    "1", "1_000", "0x1F", "0b101", "0o17", "1.5", "1e3", "2.5e-3", "1_0.2_5", "1E+2", "'a' \"b\" 'c'",
    r"'\n\t\\\'\"\x41\u00e9\U0001F600\101\q'", "[]", "[1, 'a', none]", "[1,]", "()", "(1,)", "(1, 2)",
    "1, 2", "{}", "{'a': 1, 'b': [true, None]}", "{1: 'x', 'y': (1,)}", "true", "True", "false", "none", "None",
    "{'a': {'b': {'c': 1}}}", "'a' 'b'|upper", "'''", "'abc", "[1, 2", "{'a'}", "1 2", "",
    # arithmetic
    "1 + 2 * 3", "7 / 2", "6 / 2", "7 // 2", "-7 // 2", "7 % 3", "-7 % 3", "7 % -3", "2 ** 10", "2 ** -1",
    "2 ** 3 ** 2", "-2 ** 2", "1.0 + 1", "0.1 + 0.2", "7.5 // 2", "-7.5 % 2", "1 / 0", "1 // 0", "1 % 0",
    "'a' * 3", "3 * 'ab'", "[1] * 2", "'a' * -1", "'a' + 'b'", "'a' + 1", "1 + 'a'", "[1] + [2]", "(1,) + (2,)",
    "[1] + (2,)", "'a' ~ 1 ~ none ~ true ~ 1.0", "true + 1", "-true", "+5", "--5", "-'a'", "1e16", "1e15", "123456789012345680.0",
    "1e-4", "0.00001", "-0.0", "1e100", "1e308 * 10", "n + f", "big", "big * 1.0", "none + 1", "missing + 1", "1 + missing",
    "5 - 3 - 1", "2 * 3 % 4", "'%s' % 'x'",
    # comparison and logic
    "1 < 2 < 3", "1 < 3 < 2", "1 == 1.0", "1 == true", "'a' < 'b'", "'a' < 1", "[1, 2] < [1, 3]", "(1, 2) == [1, 2]",
    "[1, 2] == [1, 2]", "{'a': 1} == {'a': 1.0}", "none == false", "missing == missing2", "missing == none", "1 != 2",
    "'a' in 'abc'", "'' in 'abc'", "1 in [1, 2]", "1 in '123'", "'b' in d", "'z' not in d", "1 in none", "1 in missing",
    "not 1 in [1]", "not true and false", "1 and 2", "0 and 2", "0 or 'x'", "'' or none or []", "not none", "1 if true",
    "1 if false", "'a' if no else 'b' if no else 'c'", "(1 if false) is defined", "1 < 'a'", "missing < 1", "none < 1",
    "1 in {1: 2}", "(1, 2) in [(1, 2)]", "true is true and not false", "'B' < 'a'", "'😀' > '\uffff'", "[1] in nested",
    # access
    "d.b", "d['b']", "d.zzz", "d['zzz'] is defined", "d.items is callable", "d['items']", "d.get('b')", "d.get('q')", "d.get('q', 5)",
    "d.keys()|list", "d.values()|list", "d.items()|list", "xs[0]", "xs[-1]", "xs[9]", "xs[-9] is defined", "xs.0", "xs['0']",
    "nested[1][1][0]", "nested.1.1.0", "s[0]", "s[-1]", "s[99]", "emoji[1]", "emoji|length", "missing.x", "missing['x']",
    "d.zzz.y", "d.C.y", "none.x", "none.x.y", "s.foo", "s.foo is defined", "people[0].home.city", "people[1].home.city",
    "people[1].home is defined", "d[xs]", "xs.append(4)", "d.update({'q': 1})", "d.pop('b')", "xs.__class__", "s.__len__()",
    "xs[1:]", "xs[:-1]", "xs[::-1]", "xs[::2]", "xs[5:]", "xs[-2:]", "xs[2:0:-1]", "xs[::0]", "s[1:4]", "s[::-1]", "emoji[1:3]",
    "emoji[::-1]", "s[none:3]", "(1, 2, 3)[1:]", "missing[1:]", "n[1:] is defined", "xs['a':]", "n()", "s()", "missing()",
    "d.b.c is defined", "xs[1.0] is defined", "s[true]", "xs[true]",
    # string methods
    "s.upper()", "s.lower()", "uni.upper()", "uni.lower()", "uni.title()", "uni.capitalize()", "uni.swapcase()", "uni.casefold()",
    "s.title()", "\"they're bill's\".title()", "sp.strip()", "sp.lstrip() ~ '|'", "'|' ~ sp.rstrip()", "'xxaxx'.strip('x')",
    "'abcba'.strip('ab')", "'\u00a0x\u2003'.strip()", "'x'.strip(none)", "sp.split()", "'a,b,,c'.split(',')", "'a,b,c'.split(',', 1)",
    "'a,b,c'.rsplit(',', 1)", "' a b  c '.split(none, 1)", "' a b  c '.rsplit(none, 1)", "''.split()", "''.split(',')", "'a'.split('')",
    "'a--b'.split('--')", "s.split(maxsplit=1)", "s.split(sep='o', maxsplit=1)", "lines.splitlines()", "lines.splitlines(true)", "'a\x0bb\x85c\u2028d'.splitlines()",
    "'a-b-c'.partition('-')", "'a-b-c'.rpartition('-')", "'abc'.partition('-')", "'abc'.rpartition('-')", "'-'.join(['a', 'b'])",
    "'-'.join([1])", "''.join('abc')", "'-'.join(d)", "'aaa'.replace('a', 'b')", "'aaa'.replace('a', 'b', 2)", "'abc'.replace('', '-')",
    "'abc'.replace('', '-', 2)", "'😀'.replace('', '-')", "''.replace('', 'x')", "'abc'.replace('b', '')", "'a'.replace('a')", "'a'.replace(1, 2)",
    "'prefix-x'.removeprefix('prefix-')", "'x.py'.removesuffix('.py')", "'x'.removesuffix('')", "s.startswith('He')",
    "s.startswith(('x', 'H'))", "s.startswith('l', 2)", "s.endswith('ld')", "s.endswith(('ld', 'x'))", "s.startswith(1)", "s.startswith(['H'])",
    "s.find('o')", "s.find('z')", "s.rfind('o')", "s.index('W')", "s.index('z')", "s.rindex('o')", "s.count('o')", "'aaa'.count('aa')", "'abc'.count('')",
    "emoji.find('c')", "emoji.find('b', 2)", "s.find('o', 5)", "s.find('o', -3)", "s.find('l', 0, 3)", "s.count('l', 4)", "s.find('')",
    "'abc'.isalpha()", "'ab1'.isalnum()", "'12'.isdigit()", "'²'.isdigit()", "'²'.isdecimal()", "'½'.isnumeric()", "''.isdigit()", "' \t'.isspace()",
    "'AB1'.isupper()", "'ab1'.islower()", "'1'.isupper()", "'Ab Cd'.istitle()", "'ab'.istitle()", "'a_1'.isidentifier()", "'1a'.isidentifier()", "'é'.isascii()",
    "'a\n'.isprintable()", "'ab'.center(6)", "'ab'.center(7, '*')", "'abc'.center(6, '*')", "'abc'.center(8, '*')", "'ab'.ljust(4) ~ '|'", "'ab'.rjust(4, '.')", "'ab'.center(2, 'xy')",
    "'-5'.zfill(4)", "'5'.zfill(3)", "'a\tb'.expandtabs(4)", "'a\tb'.expandtabs()", "'ab'.upper(1)", "'ab'.strip('a', 'b')", "'x'.nope()",
    "'{} {1} {0}'.format(1, 2)", "'{} {}'.format(1, 'a')", "'{1} {0}'.format(1, 2)", "'{a} {b.name} {c[0]}'.format(a=1, b=people[0], c=xs)", "'{{}}'.format()",
    "'{:>5}|{:<5}|{:^5}|'.format('a', 'b', 'c')", "'{:05d} {:+d} {:x} {:b} {:,}'.format(42, 7, 255, 5, 1234567)", "'{:.2f} {:8.3f} {:e} {:g} {:%}'.format(3.14159, 2.5, 12345.678, 0.0001, 0.25)",
    "'{!r} {!s}'.format('a', 'b')", "'{}'.format()", "'{x}'.format(y=1)", "'{:d}'.format('a')", "'{:.3}'.format('abcdef')", "'{a}'.format_map({'a': 5})", "'{'.format(1)", "'{0[name]}'.format(people[0])",
    # filters
    "s|upper", "s|lower", "s|title", "\"they're bill's\"|title", "s|capitalize", "sp|trim", "'xxaxx'|trim('x')", "html|e", "html|escape|length", "html|striptags", "'<b>x</b> <!-- y --> z < q'|striptags",
    "s|replace('o', '0')", "s|replace('o', '0', 1)", "n|replace(7, 8)", "s|length", "xs|length", "d|length", "n|length", "missing|length", "missing|upper", "none|upper", "none|string", "missing|string", "none|trim",
    "xs|first", "xs|last", "[]|first", "[]|first is defined", "s|first", "s|last", "xs|sum", "xs|max", "xs|min", "words|max", "words|min", "[]|max is defined", "people|sum('age')", "people|sum(attribute='age', start=100)", "['a']|sum",
    "xs|sort", "xs|sort(reverse=true)", "words|sort", "words|sort(case_sensitive=true)", "words|sort(reverse=true)", "people|sort(attribute='age')|map(attribute='name')|list", "people|sort(attribute='age,name', reverse=true)|map(attribute='name')|list", "mixed|sort", "people|max(attribute='age')", "people|min(attribute='name')",
    "words|unique|list", "words|unique(true)|list", "[1, 1.0, true, 2]|unique|list", "xs|reverse|list", "s|reverse", "xs|join", "xs|join(', ')", "people|join('/', attribute='name')", "missing|join(',')", "n|join", "d|join(',')", "s|join('.')",
    "xs|map('string')|list", "words|map('upper')|join(' ')", "people|map(attribute='home.city')|list is defined", "people|map(attribute='home.city', default='?')|list", "xs|map('nofilter')|list", "xs|map('replace', '1', 'one')|list is defined", "people|map(attribute='tags.0', default='-')|list",
    "xs|select('odd')|list", "xs|reject('odd')|list", "xs|select('gt', 1)|list", "xs|select|list", "[0, 1, '', 'a']|select|list", "people|selectattr('tags')|map(attribute='name')|list", "people|rejectattr('tags')|map(attribute='name')|list", "people|selectattr('age', 'equalto', 31)|map(attribute='name')|list",
    "people|selectattr('home.city', 'defined')|map(attribute='name')|list", "people|selectattr('age', 'in', [7])|list|length", "people|selectattr('name', '==', 'Cy')|first is mapping", "xs|select('nosuch')|list", "people|selectattr|list",
    "missing|default('x')", "missing|default", "none|default('x')", "none|default('x', true)", "''|d('y', boolean=true)", "d.zzz|default({})", "missing|default(1) + 1",
    "'42'|int", "'42.7'|int", "'x'|int", "'x'|int(default=5)", "'ff'|int(base=16)", "'0xff'|int(base=16)", "3.9|int", "-3.9|int", "none|int", "missing|int", "' 4_2 '|int", "'1e3'|int", "'3.5'|float", "'x'|float", "'x'|float(1.5)", "1|float", "'1e400'|int",
    "2.567|round", "2.567|round(2)", "2.5|round", "3.5|round", "-2.5|round", "2.567|round(1, 'floor')", "2.1|round(0, 'ceil')", "25|round(-1)", "7|round", "'a'|round", "2|round(1, 'up')", "1234.5|round(-2)", "-5|abs", "-5.5|abs", "'a'|abs",
    "d|items|list", "missing|items|list", "xs|items|list", "{'b': 1, 'A': 2, 'c': 0}|dictsort", "{'b': 1, 'A': 2, 'c': 0}|dictsort(true)", "{'b': 1, 'A': 2, 'c': 0}|dictsort(false, 'value')", "{'b': 1, 'A': 2}|dictsort(reverse=true)", "d|dictsort(by='x')",
    "people|groupby('age')|map('first')|list", "people|groupby('age')|map('last')|map('length')|list", "xs|batch(2)|list", "xs|batch(2, 0)|list", "[1, 2, 3, 4, 5, 6, 7]|slice(3)|list", "[1, 2, 3, 4, 5, 6, 7]|slice(3, 'x')|list",
    "lines|indent", "lines|indent(2)", "lines|indent(2, true)", "lines|indent(2, true, true)", "lines|indent('> ', first=true)", "'a\\n\\nb\\n'|indent ~ '|'", "s|indent(2)", "s|truncate(8)", "s|truncate(5)", "'foo bar baz qux'|truncate(9)", "'foo bar baz qux'|truncate(9, true)", "'foo bar baz qux'|truncate(11)", "'foo bar baz qux'|truncate(11, false, '...', 0)", "s|truncate(2)",
    "s|center(20)", "'Hello wide world'|wordcount", "'%s=%d'|format('a', 5)", "'%(a)s'|format(a=1)", "'%s %s'|format('a')", "'a'|format('b')", "s|list", "d|list", "n|list", "missing|list", "s|string", "n|string", "s|safe", "d|attr('keys') is callable", "d|attr('b') is defined",
    "'a b/c?d=é&*~'|urlencode", "{'a b': 'c/d', 'n': 1}|urlencode", "[['x', 'y z']]|urlencode", "s|nofilter", "s|upper|lower|first", "-3|abs", "(-3)|abs", "'a' ~ 'b'|upper", "1 + '2'|int", "xs|length > 2",
    "none|selectattr('x')|list", "none|map('upper')|list", "0|reject|list", "none|select|list", "7|select|list", "1e20|int", "[[1]]|unique|list", "n|indent", "missing|indent", "n|truncate", "xs|truncate", "'%s' % [1]", "'x' % [1]", "'x' % 1", "0 ** -1", "missing is callable",
    # tojson
    "tool|tojson", "tool|tojson(indent=2)", "tool|tojson(indent=4, sort_keys=true)", "uni|tojson", "uni|tojson(ensure_ascii=true)", "html|tojson", "[]|tojson(indent=2)", "{}|tojson(indent=2)", "[[], {}]|tojson(indent=1)", "xs|tojson(separators=(',', ':'))", "d|tojson(separators=(',', ':'))", "none|tojson", "1.0|tojson", "1e400|tojson", "missing|tojson", "(1, 2)|tojson", "{1: 2, none: 3, 1.5: 5}|tojson", "big|tojson", "mixed|tojson", "'\x7f\u2028'|tojson", "emoji|tojson(true)", "range|tojson", "xs|tojson(indent='--')", "xs|tojson(indent=0)", "{'b': 1, 'a': 2}|tojson(sort_keys=true)",
    # printing of values
    "mixed", "d", "people[0]", "nested", "(1, 'a', (2,))", "['it\\'s', 'say \"hi\"', 'both \\' \"', 'tab\\t', 'é😀', '\x00\x7f']", "[1.0, 1e20, 1e-7, 0.1]", "[missing]", "{'k': missing} is mapping", "true", "[true, none]",
    # printf
    "'%5d|%-5d|%05d' % (42, 42, 42)", "'%.2f %5.1f %e %g' % (3.14159, 2.25, 1234.5, 1e10)", "'%x %X %o %c %%' % (255, 255, 8, 'z')", "'%s %r' % ('a', 'a')", "'%d' % 'a'", "'%s' % (1, 2)", "'%(x)d' % {'x': 3}", "'%(y)d' % {'x': 3}", "'%+d % d' % (1, 1)", "'%#x' % 255", "'%d' % 3.9", "'%s' % xs", "'%5.1s|' % 'abc'", "'%q' % 1",
    # tests
    "n is odd", "n is even", "n is divisibleby 7", "n is divisibleby(2)", "n is number", "s is string", "s is not string", "xs is sequence", "xs is iterable", "n is iterable", "d is mapping", "d is sequence", "none is none", "nothing is none", "missing is defined", "missing is undefined", "missing is none", "missing is not defined", "yes is true", "yes is sameas true", "1 is sameas true", "1 is true", "yes is boolean", "n is integer", "yes is integer", "f is float", "n is float", "true is number", "'a' is lower", "'A1' is upper", "'' is lower", "range is callable", "s.upper is callable", "s is callable", "n is eq 7", "n is equalto(7)", "n is ne 8", "n is gt 6", "n is lt(6)", "n is ge 7", "n is le 7", "n is in [7]", "n is in xs", "7 is in(xs)", "n is nosuch", "not n is odd", "n is odd and n is number", "n is not odd or true", "'upper' is filter", "'nope' is filter", "'odd' is test", "s is escaped", "missing.x is defined", "n is divisibleby 0", "'a' is odd", "missing is iterable", "missing is sequence", "1 is odd is true", "n is == 7", "d.a is string and d.b is integer",
    # functions
    "range(3)|list", "range(1, 4)|list", "range(10, 0, -3)|list", "range(0)|list", "range(1, 2, 0)", "range('a')", "range(200000)", "dict(a=1, b=2)", "dict([('a', 1)])", "dict({'a': 1}, b=2)", "dict(xs)", "namespace(a=1).a", "namespace({'a': 2}).a", "namespace().x is defined", "strftime_now('%Y-%m-%d %H:%M:%S')", "strftime_now('%d %b %Y')", "strftime_now('%A %a %B %-d %-m %j %p %I %y %% %e')", "strftime_now('%U %W %V %G %u %w %f %F %T %D %R %C')", "strftime_now('%c')", "raise_exception('no')", "raise_exception(1)", "raise_exception()", "cycler('a', 'b').next()", "cycler()", "joiner('x')()", "lipsum is defined and false",
    "range(3) is iterable", "dict(**{'a': 1})", "dict(*[[('a', 1)]])", "'{}{}'.format(*[1, 2])", "dict(a=1, **{'a': 2})",
    # precedence and odd syntax
    "not 1 == 2", "1 + 1 is odd", "-1|abs", "2 * -1", "a.b.c if a is defined else 'no'", "xs|length + 1", "xs | length", "( 1 + 2 ) * 3", "s.upper ()", "xs [0]", "d . b", "'a' 'b' ~ 'c'", "1 if 1 else 2 if 1 else 3", "x = 1", "a b", "1 +", "* 2", "(1", "1)", "[1)", "s|", "s.", "s.1a", "is odd", "n is", "@", "a ? b : c", "1 <> 2", "!true", "true && false", "$x", "`x`",
    "none is none or missing.x", "(1, 2) | first", "[1, 2][0]", "{'a': 1}['a']", "{'a': 1}.a", "'abc'[1]", "'abc'.upper()[0]", "(xs|sort)[0]", "xs|sort|first", "s['upper']()", "d['keys']()|list", "d.a.upper()",
)
TEMPLATES += [
    # text and white space
    "a\n", "a\n\n", "\na", "a{{ 1 }}b", "a {{- 1 -}} b", "a\n{{- 1 -}}\n b", "a {%- if true -%} b {%- endif -%} c",
    "a\n  {% if true %}\n  b\n  {% endif %}\nc", "a\n  {%+ if true %}\n  b\n  {%+ endif %}\nc", "a {% if true +%}\n b{% endif %}",
    "x {# comment #} y", "x\n  {# comment #}\ny", "x {#- c -#} y", "x\n  {#+ c +#}\ny", "{# a {{ b }} #}z", "{# open", "{{ 1", "{% if true", "{{ '}}' }}", "{{ {'a': {'b': 1}}['a']['b'] }}",
    "{% raw %}{{ x }} {% if %}{% endraw %}", "a\n{% raw -%}\n {{ x }}\n{%- endraw %}\nb", "{% raw %}x", "  {% if true %}x{% endif %}", "\t{% if true %}x{% endif %}\n\n y", "a{% if true %}\n\nb{% endif %}",
    "{%if true%}x{%endif%}", "{{1}}", "{{-1}}", "{{- -1}}", "{{+1}}", "{ { 1 } }", "{{ '{{' }}", "%} }} #}", "a\r\nb\r{% if 1 %}\r\nc{% endif %}", "{% set x = 1 %}\n{% set y = 2 %}\n{{ x }}{{ y }}\n", "  {{ 1 }}\n  {% if 1 %}  \n  z{% endif %}  \n", "{%- set x = '\n' -%}\n {{ x }}|", "a\n   {%- if true %}\n  b\n{%- endif -%}   \n  c", "{# a #}\n{# b #}\nx", "x{# a #}\ny", "x {% if 1 %} y {% endif %} z", "\u00a0{%- if 1 -%}\u00a0x{% endif %}", "{{ 'a' }}\n{{ 'b' }}\n", "{{ 'a' -}}\n\n{{- 'b' }}",
    # if
    "{% if n > 5 %}a{% elif n > 3 %}b{% else %}c{% endif %}", "{% if no %}a{% elif n > 3 %}b{% else %}c{% endif %}", "{% if no %}a{% elif no %}b{% else %}c{% endif %}", "{% if missing %}a{% endif %}b", "{% if xs and d and s %}y{% endif %}", "{% if [] or {} or '' or 0 or none %}y{% else %}n{% endif %}", "{% if true %}", "{% endif %}", "{% else %}", "{% if %}x{% endif %}", "{% if true %}{% endfor %}", "{% if 1, 2 %}y{% endif %}", "{% if not missing is defined %}ok{% endif %}",
    # for
    "{% for x in xs %}{{ x }},{% endfor %}", "{% for x in [] %}a{% else %}none{% endfor %}", "{% for x in xs %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}", "{% for x in xs %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}", "{% for x in xs %}{{ loop.cycle('a', 'b') }}{% endfor %}", "{% for x in [1, 1, 2] %}{{ loop.changed(x) }} {% endfor %}", "{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}", "{% for k in d %}{{ k }}{% endfor %}", "{% for c in 'a😀b' %}[{{ c }}]{% endfor %}", "{% for a, b in nested %}{{ a }}{% endfor %}", "{% for a, b in xs %}{{ a }}{% endfor %}", "{% for a, b in [(1, 2, 3)] %}{{ a }}{% endfor %}", "{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}", "{% for x in xs if x > 1 %}{{ x }}{{ loop.index }}{{ loop.length }}{% endfor %}", "{% for x in xs if x > 9 %}{{ x }}{% else %}none{% endfor %}",
    "{% for x in xs %}{% for y in xs %}{{ loop.index }}{{ y }}{% endfor %}{{ loop.index }};{% endfor %}", "{% for x in xs %}{% if x == 1 %}{% continue %}{% endif %}{{ x }}{% endfor %}", "{% for x in xs %}{% if x == 1 %}{% break %}{% endif %}{{ x }}{% endfor %}", "{% for x in xs %}{% for y in xs %}{% if y == 1 %}{% break %}{% endif %}{{ x }}{{ y }} {% endfor %}{% endfor %}", "{% break %}", "{% for x in n %}{% endfor %}", "{% for x in none %}{% endfor %}", "{% for x in missing %}a{% endfor %}b", "{% for x in xs %}", "{% for x xs %}{% endfor %}", "{% for 1 in xs %}{% endfor %}", "{% for x in xs %}{% set y = x %}{% endfor %}{{ y is defined }}", "{% set y = 0 %}{% for x in xs %}{% set y = y + x %}{{ y }}{% endfor %}={{ y }}", "{% for x in xs %}{{ x }}{% endfor %}{{ x is defined }}{{ loop is defined }}", "{% set loop = 5 %}{{ loop }}", "{% for x in range(3) %}{{ x }}{% endfor %}", "{% for x in xs|sort %}{{ x }}{% endfor %}", "{% for x in xs[::-1] %}{{ x }}{% endfor %}", "{% for x in 1, 2 %}{{ x }}{% endfor %}", "{% for m in people if m.age == 31 and m.tags|length > 1 %}{{ m.name }}{% endfor %}", "{% for x in xs if loop is defined %}a{% endfor %}",
    "{% for item in nested recursive %}{% if item is iterable %}[{{ loop(item) }}]{% else %}{{ item }}{% endif %}{% endfor %}", "{% for item in nested recursive %}{{ loop.depth }}{% if item is iterable %}({{ loop(item) }}){% endif %}{% endfor %}", "{% for x in xs %}{{ loop(xs) }}{% endfor %}", "{% for x in xs %}{{ loop.nope is defined }}{% endfor %}", "{% for x in xs -%}\n  {{ x }}\n{%- endfor %}", "{% for x in xs %}\n  {{ x }}\n{% endfor %}\nend",
    # set, with, namespace
    "{% set x = 1 %}{{ x }}", "{% set x, y = 1, 2 %}{{ x }}{{ y }}", "{% set x, y = xs %}{{ x }}", "{% set (x, y) = (1, 2) %}{{ y }}", "{% set x = 1, 2 %}{{ x }}", "{% set x %}a{{ 1 }}b{% endset %}{{ x }}|{{ x|length }}", "{% set x | upper | replace('A', 'z') %}abc{% endset %}{{ x }}", "{% set x %}{% set q = 1 %}{% endset %}{{ q is defined }}", "{% set ns = namespace(a=1) %}{% for x in xs %}{% set ns.a = ns.a + x %}{% endfor %}{{ ns.a }}", "{% set d.b = 5 %}", "{% set q.b = 5 %}", "{% set ns = namespace() %}{% set ns.x %}blk{% endset %}{{ ns.x }}", "{% set ns = namespace(a=1) %}{{ ns }}", "{% set 1 = 2 %}", "{% set true = 2 %}", "{% set x %}", "{% set x = %}", "{% if true %}{% set x = 1 %}{% endif %}{{ x }}", "{% set x = x|default(3) %}{{ x }}", "{% set n = n + 1 %}{{ n }}", "{% with a = 1, b = 2 %}{{ a + b }}{% endwith %}{{ a is defined }}", "{% set a = 5 %}{% with a = 1, b = a %}{{ a }}{{ b }}{% endwith %}{{ a }}", "{% with %}{% set z = 1 %}{{ z }}{% endwith %}{{ z is defined }}", "{% set x = 'a' if no else 'b' %}{{ x }}",
    # macros
    "{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m() }}", "{% macro m(a, b=a) %}{{ a }}{{ b }}{% endmacro %}{{ m(1) }}", "{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{% endmacro %}{{ m(z=2) }}", "{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, z=3) }}", "{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1) }}{{ m(1, 2) }}", "{% macro m(n) %}{{ n }}{% if n > 0 %}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(3) }}", "{% macro m() %}{% set x = 1 %}{% endmacro %}{{ m() }}{{ x is defined }}", "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{{ m() }}", "{% set x = 1 %}{% macro m() %}{{ x }}{% endmacro %}{% set x = 2 %}{{ m() }}", "{% for i in xs %}{% macro m() %}{{ i }}{% endmacro %}{{ m() }}{% endfor %}", "{{ m is defined }}{% macro m() %}{% endmacro %}", "{% macro m(a) %}x{% endmacro %}{{ m.name }}", "{% macro m(a) -%}\n x \n{%- endmacro %}[{{ m() }}]", "{% macro m(a=1, b) %}{% endmacro %}", "{% macro m(a) %}{{ a.b }}{% endmacro %}{{ m() }}", "{% macro m(a) %}{{ a is defined }}{% endmacro %}{{ m() }}", "{% macro f(x) %}<{{ x }}>{% endmacro %}{{ xs|map('string')|join(f('|')) }}", "{% macro f(x) %}<{{ x }}>{% endmacro %}{% set g = [f] %}{{ g[0](3) }}", "{% macro f() %}a{% endmacro %}{{ f() ~ f()|upper }}", "{% macro f(x) %}{{ x }}{% endmacro %}{{ f(*xs) }}", "{% macro f(x, y) %}{{ x }}{{ y }}{% endmacro %}{{ f(*[1, 2]) }}{{ f(**{'x': 3, 'y': 4}) }}{{ f(5, *[6]) }}{{ f(7, y=8) }}", "{% macro f(x, y) %}{{ x }}{% endmacro %}{{ f(1, x=2) }}",
    "{% macro box() %}[{{ caller() }}]{% endmacro %}{% call box() %}in{% endcall %}", "{% macro each(l) %}{% for i in l %}{{ caller(i) }}{% endfor %}{% endmacro %}{% call(i) each(xs) %}<{{ i }}>{% endcall %}", "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}", "{% macro m() %}{{ caller is defined }}{% endmacro %}{{ m() }}", "{% call 5 %}{% endcall %}", "{% set q = 9 %}{% macro b() %}{{ caller() }}{% endmacro %}{% call b() %}{{ q }}{% set r = 1 %}{% endcall %}{{ r is defined }}", "{% macro render(t) %}{% if t is mapping %}{% for k, v in t|dictsort %}{{ k }}:{{ render(v) }};{% endfor %}{% else %}{{ t }}{% endif %}{% endmacro %}{{ render(tool) }}",
    # filter blocks, unknown blocks
    "{% filter upper %}abc{{ s }}{% endfilter %}", "{% filter replace('a', 'b')|upper %}aha{% endfilter %}", "{% filter indent(2) %}a\nb{% endfilter %}", "{% nope %}", "{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% do xs %}", "{% %}", "{% if true %}{% nope %}{% endif %}",
    # generation
    "{% for m in people %}U{% generation %}{{ m.name }}!{% endgeneration %}\n{% endfor %}", "a{% generation -%}\n b {%- endgeneration %}c", "{% generation %}{% set z = 1 %}{% endgeneration %}{{ z is defined }}", "😀{% generation %}日本{% endgeneration %}", "{% generation %}{% endgeneration %}", "{% generation %}",
]
TEMPLATES += [
    # what is gone through once, views and ranges
    "{{ xs|map('string')|length }}", "{{ (xs|select('odd')) is sequence }}", "{{ (xs|map('string')) == ['3', '1', '2'] }}", "{{ 'y' if xs|select('gt', 9) else 'n' }}", "{{ (xs|map('string'))[0] is defined }}", "{{ (xs|map('string'))[:1] }}", "{{ xs|map('string')|last }}", "{{ xs|map('string')|tojson }}", "{{ (xs|reverse)[0] is defined }}", "{{ xs|reverse|length }}", "{{ d|items|length }}", "{{ d.items()|tojson }}", "{{ {'a': 1}.items() }}", "{{ {'a': 1}.keys() }}", "{{ {'a': 1}.values() }}", "{{ {'a': 1}.keys()[0] is defined }}", "{{ {'a': 1}.keys() == ['a'] }}", "{{ {'a': 1}.keys() is sequence }}", "{{ {'a': 1}.keys() + ['b'] }}", "{{ {{'a': 1}.keys(): 1} }}",
    "{{ range(3) }}", "{{ range(0, 10, 3) }}", "{{ range(5)[1:3] }}", "{{ range(5)[::-2]|list }}", "{{ range(3) == [0, 1, 2] }}", "{{ range(3) == range(3) }}", "{{ range(3)|tojson }}", "{{ range(3) + [1] }}", "{{ range(3) * 2 }}", "{% set g = xs|map('string') %}{{ g|first }}{{ g|list }}{{ g|list }}", "{% set g = xs|map('string') %}{{ '1' in g }}{{ g|list }}", "{% set g = xs|map('string') %}{% for x in g %}{{ x }}{{ loop.length }}{{ loop.last }}{% endfor %}{% for x in g %}{{ x }}{% else %}empty{% endfor %}", "{% for k, v in d|items %}{{ k }}={{ v }};{% endfor %}",
    # whole numbers of any size, and numbers in texts
    "{{ 9223372036854775807 + 1 }}", "{{ 2 ** 100 }}", "{{ -(2 ** 70) // 3 }} {{ -(2 ** 70) % 1000 }} {{ 2 ** 70 > 2 ** 69 }} {{ 2 ** 64 == 18446744073709551616 }}", "{{ '123456789012345678901234567890'|int }}", "{{ '%x' % (2 ** 70) }}", "{{ 007 }}", "{{ 5e-324 }}", "{{ 0 - 0.5|round }}", "{{ '1__0'|int }}", "{{ '_1'|int }}", "{{ 'inf'|float }} {{ '-Infinity'|float }} {{ 'nan'|float }}", "{{ (-8) ** 0.5 is defined }}",
    # sorting, grouping, texts that count as HTML
    "{{ [none, none]|sort }}", "{{ [none, 1]|sort }}", "{{ people|groupby('age')|map(attribute='grouper')|list }}", "{{ (people|groupby('age')|first).list|length }}", "{{ ['a']|sum(start='') }}", "{{ '<a>' + (html|safe) }}", "{{ (html|safe) + '<a>' }}", "{{ '<a>' ~ (html|safe) }}", "{{ html|e|e }}", "{{ html|e|forceescape }}", "{{ [html|safe] }}", "{{ html|safe is escaped }}", "{{ (html|safe)[:3] + '<' }}", "{{ (html|safe)|upper + '<' }}",
    # escapes, formats, dates
    "{{ '\\N{BULLET}' }}", "{{ '\\N{nope}' }}", "{{ '{:>{w}}|{:{f}^{w}}'.format('a', 'b', w=4, f='*') }}", "{{ strftime_now('%k|%l|%P|%_d|%^a|%#p|%-e|%03d|%Q|%Ey|%5Y|%') }}",
    # fields that are not elements, and what may not be set
    "{{ {'update': 1}.update is defined }}{{ {'update': 1}['update'] }}", "{{ dict.fromkeys(['a', 'b']) }}", "{{ namespace(_x=1) }}", "{{ namespace({'_a': 1}) }}", "{% set n = namespace() %}{% set n._x = 2 %}", "{{ (1, 2).copy() }}",
    # loops that are left, and conditions that change
    "{% for x in [1] %}{% break %}{% else %}none{% endfor %}", "{% for x in [1, 2] %}{% continue %}{% else %}none{% endfor %}", "{% for x in [1, 2] %}{% if x == 1 %}{% continue %}{% endif %}a{% else %}none{% endfor %}", "{% set n = namespace(on=true) %}{% for x in xs if n.on %}{{ x }}{% if x == 1 %}{% set n.on = false %}{% endif %}{% endfor %}", "{% for x in xs if x > 1 %}{{ loop.index }}/{{ loop.length }}{{ x }}{{ loop.nextitem }}{{ loop.last }} {% endfor %}", "{% for x in xs %}{% filter upper %}a{% if x == 1 %}{% break %}{% endif %}{% endfilter %}{% endfor %}", "{% for x in xs %}{% set t %}a{% if x == 1 %}{% break %}{% endif %}{% endset %}{{ t }}{% endfor %}", "{% for x in xs %}{% generation %}{% break %}{% endgeneration %}{% endfor %}", "{% for x in xs %}{{ loop|length }}{{ loop }}{% endfor %}", "{% for loop in xs %}{% endfor %}", "{% for x in xs %}{% set loop = 5 %}{% endfor %}", "{% for a, in [(1,)] %}{{ a }}{% endfor %}",
    "{% macro f(a, a) %}{% endmacro %}", "{% macro f(a,) %}{% endmacro %}", "{% macro f(caller) %}{% endmacro %}", "{% macro f(caller) %}{{ caller }}{% endmacro %}", "{% macro f(caller=none) %}{{ caller }}{% endmacro %}{{ f() }}", "{% block a %}x{{ n }}{% endblock %}|{% block b %}y{% endblock b %}", "{% block a %}{% endblock %}{% block a %}{% endblock %}", "{%- raw\u00a0-%}\u00a0{{ x }}{% endraw %}",
]
TEMPLATES += [
    # errors while running, in odd places
    "ok{{ 1 / 0 }}", "{% if 1 / 0 %}{% endif %}", "{% if false %}{{ 1 / 0 }}{{ missing.x.y }}{% endif %}fine", "{{ false and 1 / 0 }}", "{{ true or 1 / 0 }}", "{{ 1 / 0 if false else 'ok' }}", "{% for x in xs %}{{ raise_exception('at ' ~ x) }}{% endfor %}", "{{ messages[0]['role'] }}", "{{ [1, 2, 3].index(2) }}{{ [1, 1].count(1) }}", "{{ [1].index(5) }}", "{{ xs.copy() }}{{ d.copy().b }}", "{{ (1, 2).count(1) }}",
]

cases = []
for source in TEMPLATES:
    spans.clear()
    written.clear()
    case = {"template": source}
    try:
        for piece in env.from_string(source).generate(**VARIABLES):
            written.append(piece)
        case["text"] = "".join(written)
        if spans:
            case["generated"] = list(spans)
    except Exception as e:
        case["error"] = type(e).__name__ + ": " + str(e)
    cases.append(case)

json.dump({"variables": VARIABLES, "cases": cases}, sys.stdout, ensure_ascii=True, indent=1)
print()
