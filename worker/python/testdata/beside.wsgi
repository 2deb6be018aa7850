# A file, whatever there is of modules.
def application(env, start_response):
    start_response("200 OK", [])
    return [b"a file's"]


named = application
