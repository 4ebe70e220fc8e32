"""Secrets taken out of text that is about to be logged. The last net: no code means to log one.

Libraries put whole addresses into their exceptions, and an address may be a signature (presigned URLs) or hold a
password. What has no form of its own, such as a password alone, cannot be recognised.
"""

import re

HIDDEN = "***"

_PARAMETERS = (
    "x-amz-signature|x-amz-credential|x-amz-security-token|x-goog-signature|x-goog-credential|signature|awsaccesskeyid|"
    "sig|token|access_token|id_token|api[-_]?key|key|password|secret"
)
_RULES = (
    # Our own API keys, and the tokens of Hugging Face and Replicate.
    (re.compile(r"\b(sightline_|hf_|r8_)[A-Za-z0-9_-]{20,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)\b(bearer\s+)[A-Za-z0-9._~+/=-]{8,}"), rf"\1{HIDDEN}"),
    (re.compile(r"(?i)(authorization\W{1,8}basic\s+)[A-Za-z0-9+/=]+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?i)([?&;](?:{_PARAMETERS})=)[^&;\s\"'<>\\]+"), rf"\1{HIDDEN}"),
    # The password in scheme://user:password@host.
    (re.compile(r"(://[^/\s:@\"'\\]*:)[^/\s@\"'\\]+@"), rf"\1{HIDDEN}@"),
)


def redacted(text: str) -> str:
    """The text without the secrets that can be recognised."""
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    return text
