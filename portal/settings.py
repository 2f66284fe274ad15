"""All settings, read from the environment; README.md has the table. What production needs and lacks is said loudly."""

import json
import logging
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url
import structlog
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured
from django.utils.translation import gettext_lazy as _

from portal.core.logs import without_link_tokens, without_traceback

BASE_DIR = Path(__file__).resolve().parent.parent

PORTAL_MODE = os.environ.get("PORTAL_MODE", "demo")  # "demo", "test" or "production"
if PORTAL_MODE not in ("demo", "test", "production"):
    raise ImproperlyConfigured("PORTAL_MODE must be demo, test or production.")
PRODUCTION = PORTAL_MODE == "production"


def needed(name: str, *, demo: str = "") -> str:
    """The variable's value. In production a missing one ends the start with its name."""
    value = os.environ.get(name, "")
    if value:
        return value
    if PRODUCTION or not demo:
        raise ImproperlyConfigured(f"Set {name} (README.md, table of settings).")
    return demo


def checked(name: str, value: str, pattern: str, words: str) -> str:
    """The value, or in production a start that ends with what the value must look like."""
    if PRODUCTION and not re.fullmatch(pattern, value):
        raise ImproperlyConfigured(f"{name} {words}")
    return value


def number(name: str, default: int) -> int:
    try:
        return int(os.environ.get(name) or default)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a whole number.") from None


def host_of(name: str, url: str, *schemes: str) -> str:
    """The host of an address. One that cannot be read, or has another scheme or no host, ends the start."""
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or parts.scheme not in schemes:
        raise ImproperlyConfigured(
            f"{name} must be an address that begins with {' or '.join(s + '://' for s in schemes)}."
        )
    return f"[{host}]" if ":" in host else host


def rows_of(name: str, *needs: str) -> list[dict[str, str]]:
    """A JSON list of objects of texts, each with these keys."""
    try:
        rows = json.loads(os.environ.get(name) or "[]")
    except ValueError:
        rows = None
    texts = isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(value, str) for value in row.values()) for row in rows
    )
    if not texts or any(not row.get(key) for row in rows for key in needs):
        raise ImproperlyConfigured(f"{name} must be a JSON list of objects of texts with {', '.join(needs)}.")
    return list(rows)


SECRET_KEY = checked(
    "SECRET_KEY",
    needed("SECRET_KEY", demo="demo-only-" + "x" * 50),
    r"(?s).{40,}",
    "must have 40 characters or more.",
)
# Fernet keys that seal provider credentials and job secrets, newest first; old ones still open.
CREDENTIALS_KEYS = [
    checked(
        "CREDENTIALS_KEYS",
        key.strip(),
        r"[A-Za-z0-9_-]{43}=",
        "must be Fernet keys, comma-separated (cryptography.fernet.Fernet.generate_key()).",
    )
    for key in needed("CREDENTIALS_KEYS", demo="ZGVtby1vbmx5LWRlbW8tb25seS1kZW1vLW9ubHktMzI=").split(",")
]
# Part of every job's name at every provider: two installations may share one provider account.
INSTALLATION_ID = checked(
    "INSTALLATION_ID",
    needed("INSTALLATION_ID", demo="demo00"),
    r"[a-z0-9]{4,12}",
    "must be 4 to 12 small letters and digits.",
)
DEBUG = False
PORTAL_URL = needed("PORTAL_URL", demo="http://localhost:8000").rstrip("/")
# The portal's address as providers' machines reach it; empty: they do not.
MACHINES_URL = os.environ.get("MACHINES_URL") or PORTAL_URL
MACHINES_URL = "" if MACHINES_URL == "none" else MACHINES_URL.rstrip("/")
PORTAL_DATA = Path(os.environ.get("PORTAL_DATA") or BASE_DIR / "var")
EMULATORS_DIR = Path(os.environ.get("EMULATORS_DIR") or PORTAL_DATA / "emulators")
ALLOWED_HOSTS = [
    host_of("PORTAL_URL", PORTAL_URL, "http", "https"),
    *([host_of("MACHINES_URL", MACHINES_URL, "http", "https")] if MACHINES_URL not in ("", PORTAL_URL) else []),
    *(host.strip() for host in os.environ.get("ALLOWED_HOSTS", "").split(",") if host.strip()),
    *([] if PRODUCTION else ["localhost", "127.0.0.1", "testserver"]),
]
CSRF_TRUSTED_ORIGINS = [PORTAL_URL]
checked("MACHINES_URL", MACHINES_URL, r"(https://.+)?", "must begin with https://, or be none.")

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.staticfiles",
    "django.forms",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.usersessions",
    "django_htmx",
    "csp",
    "django_structlog",
    "portal.core",
    "portal.audit",
    "portal.accounts",
    "portal.catalog",
    "portal.usage",
    "portal.billing",
    "portal.datasets",
    "portal.jobs",
    "portal.home",
]

MIDDLEWARE = [
    "portal.home.middleware.Probes",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "csp.middleware.CSPMiddleware",  # far out, so that early answers such as 400 carry it too
    "portal.core.middleware.PrivatePages",
    "portal.core.middleware.NoNul",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django_structlog.middlewares.RequestMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "portal.core.middleware.HtmxRedirects",
    "portal.core.middleware.WrongMethods",
    "portal.accounts.middleware.LastSeen",
    "portal.accounts.middleware.FormErrors",
]

ROOT_URLCONF = "portal.urls"
WSGI_APPLICATION = "portal.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "OPTIONS": {
            "loaders": [
                (
                    "django.template.loaders.cached.Loader",
                    [
                        "django.template.loaders.filesystem.Loader",
                        "django.template.loaders.app_directories.Loader",
                    ],
                )
            ],
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.i18n",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "portal.accounts.context.current",
            ],
            "builtins": [
                "django.templatetags.i18n",
                "django.templatetags.static",
                "portal.core.templatetags.formats",
                "portal.core.templatetags.ui",
            ],
        },
    }
]
FORM_RENDERER = "portal.core.forms.PortalRenderer"

# --- stores ----------------------------------------------------------------------------------------------------------
DATABASE_URL = needed("DATABASE_URL", demo="postgresql://portal@127.0.0.1:5432/portal")
if not DATABASE_URL.startswith(("postgresql://", "postgres://")):
    raise ImproperlyConfigured("DATABASE_URL must begin with postgresql://.")
try:
    DATABASES = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=0)}
except ValueError as unreadable:
    raise ImproperlyConfigured("DATABASE_URL cannot be read: are its parts percent-encoded?") from unreadable
if PORTAL_MODE != "test":
    DATABASE_OPTIONS = DATABASES["default"].setdefault("OPTIONS", {})
    # A process that is frozen, or whose host is gone, inside a transaction keeps its row locks: without a limit
    # nobody of that account could submit again. Nothing here waits for anything but PostgreSQL inside a transaction.
    DATABASE_OPTIONS["options"] = f"-c idle_in_transaction_session_timeout=20s {DATABASE_OPTIONS.get('options', '')}"
    # One pool per process: a request borrows a connection, so idle browsers hold none.
    DATABASE_OPTIONS["pool"] = {
        "min_size": 1,
        "max_size": number("DATABASE_POOL_SIZE", 12),
        # While the database is away a page says so after two such waits (the view's own, the log line's), and holds a
        # thread of the web server until then.
        "timeout": 2,
        # The pool doubles its pauses between attempts until this is over, then begins anew: by default five minutes,
        # after which pages would fail for as long again as the database had been away.
        "reconnect_timeout": 2,
    }
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

BROKER_URL = needed("BROKER_URL", demo="redis://127.0.0.1:6379/0")
if not re.match(r"(rediss?|redis\+socket|amqps?)://", BROKER_URL):
    raise ImproperlyConfigured("BROKER_URL must begin with redis://, rediss://, redis+socket://, amqp:// or amqps://.")
CACHE_URL = os.environ.get("CACHE_URL") or (BROKER_URL if BROKER_URL.startswith("redis") else "")
if not CACHE_URL:
    raise ImproperlyConfigured("Set CACHE_URL to a Valkey or Redis URL: BROKER_URL cannot serve as the cache.")
if not re.match(r"(rediss?|redis\+socket|unix)://", CACHE_URL):
    raise ImproperlyConfigured("CACHE_URL must begin with redis://, rediss:// or unix://.")
CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": CACHE_URL.replace("redis+socket://", "unix://"),
        "OPTIONS": {
            "serializer": "portal.core.caching.JSONSerializer",
            # One that takes connections and never answers counts as away before a page has become slow.
            "socket_timeout": 0.5,
            "socket_connect_timeout": 0.5,
        },
        "KEY_PREFIX": "portal",
    }
}

S3_ENDPOINT = needed("S3_ENDPOINT", demo="http://127.0.0.1:8333")
host_of("S3_ENDPOINT", S3_ENDPOINT, "http", "https")
# The address under which browsers and providers' machines reach the same store.
S3_PUBLIC_ENDPOINT = os.environ.get("S3_PUBLIC_ENDPOINT") or S3_ENDPOINT
host_of("S3_PUBLIC_ENDPOINT", S3_PUBLIC_ENDPOINT, "http", "https")
S3_ACCESS_KEY = needed("S3_ACCESS_KEY", demo="portal")
S3_SECRET_KEY = needed("S3_SECRET_KEY", demo="portal")
S3_REGION = os.environ.get("S3_REGION", "jp-north-1")
S3_BUCKET = os.environ.get("S3_BUCKET", "portal")
# Further places for copies, and what the operator declares of stores that are in Japan: portal/datasets/places.py.
STORAGE_SITES = rows_of("STORAGE_SITES", "slug", "endpoint", "bucket", "access_key", "secret_key")
for _site in STORAGE_SITES:
    host_of("STORAGE_SITES", _site["endpoint"], "http", "https")
    host_of("STORAGE_SITES", _site.setdefault("public_endpoint", _site["endpoint"]), "http", "https")
STORAGE_HOSTS = rows_of("STORAGE_HOSTS", "host", "place", "source")

# --- people ----------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.ScryptPasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "portal.accounts.passwords.MaximumLengthValidator", "OPTIONS": {"max_length": 256}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "portal.accounts.adapters.AccountAdapter"
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_TIMEOUT = 900  # as pages and mails say
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_SESSION_REMEMBER = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_PASSWORD_RESET_BY_CODE_ENABLED = True
ACCOUNT_PASSWORD_RESET_BY_CODE_TIMEOUT = 900
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_RATE_LIMITS = {"invite": "30/h/user", "accept_invitation": "20/m/user"}  # beside allauth's own
ACCOUNT_FORMS = {
    "signup": "portal.accounts.forms.SignUpForm",
    "login": "portal.accounts.forms.LoginForm",
    "add_email": "portal.accounts.forms.EmailForm",
    "change_password": "portal.accounts.forms.ChangePasswordForm",
    "set_password": "portal.accounts.forms.SetPasswordForm",
    "reset_password": "portal.accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "portal.accounts.forms.ResetPasswordKeyForm",
    "reauthenticate": "portal.accounts.forms.ReauthenticateForm",
    "confirm_email_verification_code": "portal.accounts.forms.VerifyEmailForm",
    "confirm_password_reset_code": "portal.accounts.forms.VerifyResetForm",
}
ALLAUTH_TRUSTED_PROXY_COUNT = number("TRUSTED_PROXY_COUNT", 0)
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "GPU Alliance"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not PRODUCTION
MFA_ADAPTER = "portal.accounts.adapters.MFAAdapter"
MFA_FORMS = {
    "authenticate": "portal.accounts.forms.AuthenticateForm",
    "reauthenticate": "portal.accounts.forms.ReauthenticateCodeForm",
    "activate_totp": "portal.accounts.forms.ActivateTOTPForm",
    "add_webauthn": "portal.accounts.forms.AddPasskeyForm",
    "edit_webauthn": "portal.accounts.forms.EditPasskeyForm",
    "login_webauthn": "portal.accounts.forms.PasskeyLoginForm",
    "authenticate_webauthn": "portal.accounts.forms.PasskeyAuthenticateForm",
    "reauthenticate_webauthn": "portal.accounts.forms.PasskeyReauthenticateForm",
}
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_HTTPONLY = True
CSRF_FAILURE_VIEW = "portal.core.error_pages.csrf_failure"
INVITATION_DAYS = 7

# --- mail: SMTP in production, files that /dev/mail/ shows in the demo ---
EMAIL_URL = os.environ.get("EMAIL_URL", "")
DEFAULT_FROM_EMAIL = needed("DEFAULT_FROM_EMAIL", demo="GPU Alliance <no-reply@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL
if EMAIL_URL:
    EMAIL_HOST = host_of("EMAIL_URL", EMAIL_URL, "smtp", "smtp+tls", "smtps")
    _mail = urlsplit(EMAIL_URL)
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_PORT = _mail.port or {"smtp": 25, "smtp+tls": 587, "smtps": 465}[_mail.scheme]
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_mail.username or ""), unquote(_mail.password or "")
    EMAIL_USE_TLS, EMAIL_USE_SSL = _mail.scheme == "smtp+tls", _mail.scheme == "smtps"
    EMAIL_TIMEOUT = 10
elif PRODUCTION:
    raise ImproperlyConfigured("Set EMAIL_URL, e.g. smtp+tls://user:password@mail.example.jp:587.")
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = PORTAL_DATA / "mail"

# --- languages, time -------------------------------------------------------------------------------------------------
LANGUAGE_CODE = "ja"
LANGUAGES = [("ja", _("Japanese")), ("en", _("English"))]
LOCALE_PATHS = [BASE_DIR / "portal" / "locale"]
USE_I18N = True
USE_TZ = True
TIME_ZONE = "Asia/Tokyo"
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_SAMESITE = "Lax"

# --- static files: hashed, compressed, served by the web process ---
STATIC_URL = "static/"
STATIC_ROOT = Path(os.environ.get("STATIC_ROOT") or PORTAL_DATA / "static")
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.InMemoryStorage"},  # uploads never pass through here
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if PORTAL_MODE == "test"
        else "portal.core.static_files.HashedFiles"
    },
}
# Where nothing was collected the files are served as they are in the code.
WHITENOISE_USE_FINDERS = PORTAL_MODE == "test" or not (STATIC_ROOT / "staticfiles.json").exists()

# --- security --------------------------------------------------------------------------------------------------------
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF, "{0.scheme}://{0.netloc}".format(urlsplit(S3_PUBLIC_ENDPOINT))],
        # The store too: files sent by a plain form go straight to it.
        "form-action": [SELF, "{0.scheme}://{0.netloc}".format(urlsplit(S3_PUBLIC_ENDPOINT))],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "object-src": [NONE],
        "worker-src": [SELF],
    }
}
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
if PRODUCTION:
    SECURE_SSL_REDIRECT = True
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = True
    SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = True
    SESSION_COOKIE_NAME, CSRF_COOKIE_NAME = "__Host-session", "__Host-csrf"
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024  # a script of 1 MiB, percent-encoded
FILE_UPLOAD_HANDLERS = ["portal.core.uploads.NoFiles"]  # files go from the browser to the store, never through here
DATA_UPLOAD_MAX_NUMBER_FIELDS = 1000

# --- jobs and money --------------------------------------------------------------------------------------------------
TRIAL_CREDIT_YEN = number("TRIAL_CREDIT_YEN", 10_000)
TRIAL_CREDIT_DAYS = number("TRIAL_CREDIT_DAYS", 90)

# What a project may keep in storage, in bytes, until staff say otherwise (manage.py set_storage_limit).
STORAGE_LIMIT_BYTES = number("STORAGE_LIMIT_GB", 1000) * 10**9

# How often one person may do what costs work, a minute. Each is answered by 429 and when to try again.
LIMITS = {
    "submit": number("LIMIT_SUBMITS", 120),
    "download": number("LIMIT_DOWNLOADS", 120),
    "presign": number("LIMIT_PARTS", 1800),  # addresses for parts of uploads
    "fetch": number("LIMIT_FETCHES", 6000),  # files of a version, by the addresses of one list
    "share": number("LIMIT_SHARES", 30),  # also tries to guess a project's code
}

# A new job may be missing from a provider's listing for so long, whatever the provider says of itself: only after that
# is a job whose answer was lost looked for in vain and sent again. Shorter only where nothing is charged.
HANDOFF_LISTING_LAG_MIN_S = number("HANDOFF_LISTING_LAG_MIN_S", 120 if PRODUCTION else 15)
METER_EVERY_S = number("METER_EVERY_S", 60)
# A provider's statement may differ from our records by so many seconds of a job, and by so much of all of a day.
STATEMENT_TOLERANCE_S = number("STATEMENT_TOLERANCE_S", 5)
STATEMENT_TOLERANCE_PERCENT = number("STATEMENT_TOLERANCE_PERCENT", 1)

# --- logs: one JSON object a line in production, readable lines elsewhere ---
DJANGO_STRUCTLOG_CELERY_ENABLED = True
# One line per request, at its end. Addresses are personal data, and parsing them cost a tenth of a page.
DJANGO_STRUCTLOG_IP_LOGGING_ENABLED = False
DJANGO_STRUCTLOG_STATUS_START_LOG_LEVEL = logging.DEBUG
_shared: list[Any] = [
    structlog.contextvars.merge_contextvars,
    without_link_tokens,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
    structlog.processors.format_exc_info,
]
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "structured": {
            "()": structlog.stdlib.ProcessorFormatter,
            "processor": structlog.processors.JSONRenderer()
            if PRODUCTION
            else structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
            "foreign_pre_chain": _shared,
        }
    },
    "filters": {"without_traceback": {"()": "django.utils.log.CallbackFilter", "callback": without_traceback}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
    "root": {"handlers": ["stderr"], "level": os.environ.get("LOG_LEVEL", "INFO")},
    "loggers": {
        # Without Django's own handlers: one would mail tracebacks, with the values of all variables, to ADMINS.
        "django": {"level": "INFO"},
        # Every scan of the internet sends wrong host names: one line each, which also tells of a missing ALLOWED_HOSTS.
        "django.security.DisallowedHost": {"filters": ["without_traceback"]},
        "httpx": {"level": "WARNING"},
        "httpcore": {"level": "WARNING"},
        "botocore": {"level": "WARNING"},
        "asyncssh": {"level": "WARNING"},
        "websockets": {"level": "WARNING"},
        "django_structlog.celery": {"level": "WARNING"},  # three lines for each sweep say nothing
    },
}
structlog.configure(
    processors=[structlog.stdlib.filter_by_level, *_shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
    logger_factory=structlog.stdlib.LoggerFactory(),
    cache_logger_on_first_use=True,
)
