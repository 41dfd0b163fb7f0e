"""JSON Web Tokens (RFC 7519) with PyJWT: keys that check them and, for labs, that make them."""
