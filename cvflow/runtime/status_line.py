"""One line that is rewritten at the bottom of a terminal, and lines that stay above it."""

from __future__ import annotations

from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text


class StatusLine:
    """Where the stream is no terminal, ``show`` writes nothing and ``line`` writes plain text."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._live: Live | None = None

    @property
    def is_terminal(self) -> bool:
        """Whether there is a line to rewrite."""
        return self.stream.isatty()

    def show(self, text: str) -> None:
        """Rewrite the line; too long a text is cut off."""
        if not self.is_terminal:
            return
        if self._live is None:
            self._live = self._started()
        self._live.update(Text(text, no_wrap=True, overflow="ellipsis"), refresh=True)

    def line(self, text: str) -> None:
        """Write a line that stays, in place of the one that is rewritten."""
        self.clear()
        self.stream.write(f"{text}\n")
        self.stream.flush()

    def clear(self) -> None:
        """Take the rewritten line away."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _started(self) -> Live:
        console = Console(file=self.stream)
        live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        live.start()
        # rich hides the cursor; a killed process could not bring it back
        console.show_cursor(True)
        return live
