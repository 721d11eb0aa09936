"""GBCS: messages, their protection, the use cases CS06, CS08 and CS09."""
