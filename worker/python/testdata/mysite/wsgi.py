"""Lies where Django puts the module of a site."""


def application(env, start_response):
    start_response("200 OK", [])
    return [b"Django's"]
