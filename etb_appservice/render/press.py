"""`ports.Press`: the documents of this package behind one door. Pure."""

from etb_appservice.domain.story import Story
from etb_appservice.ports import Picture, PrintedTranscript, Transcript
from etb_appservice.render.chart import HEIGHT, WIDTH, chart
from etb_appservice.render.transcript import printed


class PaperPress:
    """Makes documents."""

    def transcript(self, transcript: Transcript) -> PrintedTranscript:
        """As a page to read and print, and as JSON."""
        return printed(transcript)

    def chart(self, story: Story) -> Picture:
        """As a PNG."""
        return Picture(content=chart(story), width=WIDTH, height=HEIGHT)
