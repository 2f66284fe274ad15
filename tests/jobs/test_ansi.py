import time

from portal.jobs.ansi import line_html


def test_markup_stays_text():
    assert line_html("<script>alert(1)</script> & \"x\" 'y'") == (
        "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;x&quot; &#x27;y&#x27;"
    )


def test_colours_become_classes_of_a_closed_list():
    assert line_html("\x1b[1;31mred\x1b[0m plain \x1b[92mgreen\x1b[39m end") == (
        '<span class="a-bold a-red">red</span> plain <span class="a-green">green</span> end'
    )


def test_styles_end_one_by_one():
    assert line_html("\x1b[1m\x1b[4mboth\x1b[22mline\x1b[24mnone") == (
        '<span class="a-bold a-underline">both</span><span class="a-underline">line</span>none'
    )


def test_palette_colours_and_backgrounds_are_skipped_with_their_parameters():
    assert line_html("\x1b[38;5;196mone\x1b[48;2;1;2;31mtwo\x1b[38:5:31;32mthree") == (
        'onetwo<span class="a-green">three</span>'
    )


def test_markup_inside_escapes_cannot_get_out():
    hostile = '\x1b]0;<b>\x07a\x1b]8;;javascript:alert(1)\x1b\\b\x1b[31<script>mc\x1b["><img src=x>'
    assert line_html(hostile) == "abcript&gt;mc&quot;&gt;&lt;img src=x&gt;"


def test_cursor_movement_controls_and_direction_overrides_are_removed():
    assert line_html("\x1b[2J\x1b[10;10Ha\x00b\x07c\td\u202ee\x9bf\x1b(Bg\x1b7h\x1b") == "abc\tdefgh"


def test_progress_bar_shows_its_last_drawing():
    assert line_html("  0%|\r 50%|#\r100%|##\r") == "100%|##"


def test_long_lines_of_escapes_are_read_in_linear_time():
    began = time.monotonic()
    for hostile in ("\x1b[" * 50_000, "\x1b]" * 50_000, "\x1b[1" + ";" * 100_000, "\x1b[31ma" * 10_000):
        line_html(hostile)
    assert time.monotonic() - began < 5
