from portal.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.lean"
MIDDLEWARE = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
LANGUAGE_CODE = "en"
