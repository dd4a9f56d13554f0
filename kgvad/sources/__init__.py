"""Published features, lists and videos: declarative recipes, download, checks and import."""
