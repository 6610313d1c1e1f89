"""From documents to views: pure functions that decide what a page says about them."""
