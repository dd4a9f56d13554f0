"""A language model tells what a report says, and the claim check reads every sentence."""
