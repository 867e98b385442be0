"""Import and export: what other tools write becomes posts, and stored rows become their files.

One module per format says what a row means (`read`) and how stored rows make one (`write`); the
rest reads files, sends posts over HTTP, selects rows and writes files, and knows no format.
"""
