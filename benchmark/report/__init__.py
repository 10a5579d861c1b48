"""What runs say: tables, captions, tests, comparisons with the paper. Reads files only, never torch."""
