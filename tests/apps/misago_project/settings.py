"""A Misago project to run Misago's own tests in: its source distribution comes without one."""
import os

from misago.settings import INSTALLED_APPS, TEMPLATE_CONTEXT_PROCESSORS  # noqa: F401
from misago.settings import INSTALLED_PLUGINS, MISAGO_NOTIFICATIONS_RETRY_DELAY  # noqa: F401

SECRET_KEY = "for tests"
DEBUG = False
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "misago_project.urls"
WORK = os.environ["APPS_WORK"]

DATABASES = {"default": {
    "ENGINE": "django.db.backends.postgresql",
    "HOST": os.environ["PGHOST"],
    "PORT": os.environ["PGPORT"],
    "USER": os.environ["PGUSER"],
    "PASSWORD": os.environ["PGPASSWORD"],
    "NAME": "postgres",
    "TEST": {"NAME": os.environ["APPS_DATABASE"]},
}}
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
CELERY_TASK_ALWAYS_EAGER = True

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = os.path.join(WORK, "static")
MEDIA_URL = "/media/"
MEDIA_ROOT = os.path.join(WORK, "media")
MISAGO_USER_DATA_DOWNLOADS_WORKING_DIR = os.path.join(WORK, "downloads")
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
]

AUTH_USER_MODEL = "misago_users.User"
AUTHENTICATION_BACKENDS = ["misago.users.authbackends.MisagoBackend"]
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator",
     "OPTIONS": {"user_attributes": ["username", "email"]}},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator",
     "OPTIONS": {"min_length": 7}},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
LOGIN_URL = "misago:login"
LOGIN_REDIRECT_URL = "misago:index"
LOGOUT_URL = "misago:logout"
INTERNAL_IPS = ["127.0.0.1"]
DEBUG_TOOLBAR_PANELS = []

MIDDLEWARE = [
    "debug_toolbar.middleware.DebugToolbarMiddleware",
    "misago.users.middleware.RealIPMiddleware",
    "misago.core.middleware.FrontendContextMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "misago.cache.middleware.cache_versions_middleware",
    "misago.conf.middleware.dynamic_settings_middleware",
    "misago.socialauth.middleware.socialauth_providers_middleware",
    "misago.users.middleware.UserMiddleware",
    "misago.acl.middleware.user_acl_middleware",
    "misago.core.middleware.ExceptionHandlerMiddleware",
    "misago.users.middleware.OnlineTrackerMiddleware",
    "misago.admin.middleware.AdminAuthMiddleware",
    "misago.threads.middleware.UnreadThreadsCountMiddleware",
]
TEMPLATES = [{
    "BACKEND": "django.template.backends.django.DjangoTemplates",
    "DIRS": [],
    "APP_DIRS": True,
    "OPTIONS": {"context_processors": TEMPLATE_CONTEXT_PROCESSORS},
}]
REST_FRAMEWORK = {
    "DEFAULT_PERMISSION_CLASSES": ["misago.core.rest_permissions.IsAuthenticatedOrReadOnly"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "EXCEPTION_HANDLER": "misago.core.exceptionhandler.handle_api_exception",
    "UNAUTHENTICATED_USER": "misago.users.models.AnonymousUser",
    "URL_FORMAT_OVERRIDE": None,
}
CSRF_FAILURE_VIEW = "misago.core.errorpages.csrf_failure"
MISAGO_SEARCH_CONFIG = "simple"
MISAGO_NEW_REGISTRATIONS_VALIDATORS = ["misago.users.validators.validate_gmail_email"]

MISAGO_PROFILE_FIELDS = [
    {"name": "Personal", "fields": [
        "misago.users.profilefields.default.RealNameField",
        "misago.users.profilefields.default.GenderField",
        "misago.users.profilefields.default.BioField",
        "misago.users.profilefields.default.LocationField",
    ]},
    {"name": "Contact", "fields": [
        "misago.users.profilefields.default.TwitterHandleField",
        "misago.users.profilefields.default.SkypeIdField",
        "misago.users.profilefields.default.WebsiteField",
    ]},
    {"name": "IP address", "fields": ["misago.users.profilefields.default.JoinIpField"]},
]

for folder in (STATIC_ROOT, MEDIA_ROOT, MISAGO_USER_DATA_DOWNLOADS_WORKING_DIR):
    os.makedirs(folder, exist_ok=True)
