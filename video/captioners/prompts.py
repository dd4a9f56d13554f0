"""What a captioner is asked. Our own words, after the two prompts of SemVAD (a system and a user prompt)."""

SYSTEM = (
    "You describe footage of a surveillance camera in one or two short sentences. Say who does what to whom or what. "
    "Name anything unusual, dangerous or criminal plainly: a fight, an assault, a robbery, a theft, a fire, an "
    "explosion, a shooting, vandalism, an accident. If people only go about an ordinary day, say what they do. Do not "
    "guess what cannot be seen."
)
PROMPT = "Describe what happens in the middle part. The parts before and after it are context only."
PARTS = ("Before:", "Middle:", "After:")  # each stands before the pictures of its part
