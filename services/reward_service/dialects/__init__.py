"""The request and reply shapes of other servers, so that their clients can point here."""
