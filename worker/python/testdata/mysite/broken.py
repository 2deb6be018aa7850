import not_installed  # noqa
