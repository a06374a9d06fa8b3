"""Django settings of the sandbox. Everything that differs between two sandboxes comes from the command line."""

import os
from pathlib import Path

DATA = Path(os.environ.get("ETB_SANDBOX_DATA") or ".run/etb-sandbox").resolve()

SECRET_KEY = "the sandbox signs nothing that matters"
DEBUG = False
ALLOWED_HOSTS = ["*"]
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False
ROOT_URLCONF = "etb_sandbox.urls"
WSGI_APPLICATION = None
AUTH_USER_MODEL = "etb_sandbox.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MEDIA_ROOT = DATA / "media"
MEDIA_URL = "/media/"

INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "rest_framework",
    "rest_framework.authtoken",
    "etb_sandbox",
]
# Tables are made straight from the models: a sandbox has no past to migrate from.
MIGRATION_MODULES = dict.fromkeys(("contenttypes", "auth", "authtoken", "etb_sandbox"))

MIDDLEWARE = [
    "django.middleware.common.CommonMiddleware",  # outermost: Content-Length after a fault changed the body
    "etb_sandbox.faults.sandbox_middleware",
]
# Passwords here are public ("<username>-sandbox"); a slow hash would only slow the start.
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": DATA / "etb.sqlite3",
        "CONN_MAX_AGE": None,  # as long as the caller keeps its connection to us
        "OPTIONS": {
            "timeout": 30,
            "transaction_mode": "IMMEDIATE",  # writers queue instead of failing half way
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["etb_sandbox.habits.SandboxTokenAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "rest_framework.parsers.JSONParser",
        "rest_framework.parsers.FormParser",
        "rest_framework.parsers.MultiPartParser",
    ],
    "DEFAULT_PAGINATION_CLASS": "etb_sandbox.habits.Pages",
    "DEFAULT_FILTER_BACKENDS": [
        "etb_sandbox.habits.HabitFilter",
        "rest_framework.filters.SearchFilter",
        "rest_framework.filters.OrderingFilter",
    ],
    "PAGE_SIZE": 20,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    # Refused requests are what tests provoke; only real failures are worth a line.
    "loggers": {
        "django.server": {"level": "CRITICAL", "propagate": False},
        "django.request": {"handlers": ["console"], "level": "ERROR", "propagate": False},
    },
}
