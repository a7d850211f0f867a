"""The report's figures, drawn from runs on disk. Needs no compiled code.

One short module for each figure (fig01 ... fig16), which is also a script that runs alone. What
they share: `curves` averages runs, `panel` draws one panel, `sheet` puts panels together,
`captions` says what the figure shows, `album` brings manifest and runs together, `command` has
the flags.
"""
