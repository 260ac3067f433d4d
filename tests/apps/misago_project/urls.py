"""The addresses of a site that is Misago, Django's admin, and the translations that its scripts ask for."""
from django.contrib import admin
from django.urls import include, path
from django.views.i18n import JavaScriptCatalog
from misago.users.forms.auth import AdminAuthenticationForm

admin.autodiscover()
admin.site.login_form = AdminAuthenticationForm

urlpatterns = [
    path("", include("misago.urls", namespace="misago")),
    path("django-i18n.js", JavaScriptCatalog.as_view(packages=["misago"]), name="django-i18n"),
    path("django-admin/", admin.site.urls),
]

handler403 = "misago.core.errorpages.permission_denied"
handler404 = "misago.core.errorpages.page_not_found"
