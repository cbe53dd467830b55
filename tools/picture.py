# SPDX-License-Identifier: MIT
"""Draws terminal output as an SVG picture, for the documents.

usage: ./quire run riscv64 --exec "map" | tools/picture.py TITLE > docs/boot.svg
"""
import re
import sys
from html import escape

CELL, LINE, PAD, BAR = 8.4, 18, 16, 34
COLOURS = [(r"^quire> .*", "#8bd5ca"), (r"^quire \S+:.*", "#f5a97f"), (r"^\*\*\*.*", "#ed8796"),
           (r"^warning:.*", "#eed49f"), (r"^(memory|cpus):.*", "#a6da95")]


def colour(line):
    return next((c for pattern, c in COLOURS if re.match(pattern, line)), "#cad3f5")


def main():
    title = sys.argv[1] if len(sys.argv) > 1 else "quire"
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", sys.stdin.read().replace("\r", ""))
    lines = [line.rstrip() for line in text.strip("\n").split("\n")]
    width = int(max(map(len, lines)) * CELL + 2 * PAD)
    height = int(len(lines) * LINE + PAD + BAR + PAD)
    print(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
          f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">')
    print(f'<rect width="{width}" height="{height}" rx="8" fill="#1e2030"/>')
    for i, dot in enumerate(("#ed8796", "#eed49f", "#a6da95")):
        print(f'<circle cx="{PAD + 6 + i * 18}" cy="{BAR // 2}" r="5.5" fill="{dot}"/>')
    print(f'<text x="{width // 2}" y="{BAR // 2 + 5}" text-anchor="middle" font-family="sans-serif" '
          f'font-size="13" fill="#8087a2">{escape(title)}</text>')
    print('<g font-family="DejaVu Sans Mono, Menlo, Consolas, monospace" font-size="14" xml:space="preserve">')
    for i, line in enumerate(lines):
        if line:
            print(f'<text x="{PAD}" y="{BAR + PAD + i * LINE}" fill="{colour(line)}" '
                  f'textLength="{len(line) * CELL:.1f}" lengthAdjust="spacingAndGlyphs">{escape(line)}</text>')
    print("</g>\n</svg>")


main()
