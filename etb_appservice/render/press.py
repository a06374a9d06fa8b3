"""`ports.Press`: the documents of this package behind one door. Pure."""

from etb_appservice.ports import PrintedTranscript, Transcript
from etb_appservice.render.transcript import printed


class PaperPress:
    """Makes documents."""

    def transcript(self, transcript: Transcript) -> PrintedTranscript:
        """As a page to read and print, and as JSON."""
        return printed(transcript)
