from django.urls import path

from portal.accounts import views

app_name = "accounts"
urlpatterns = [
    path("profile/", views.profile, name="profile"),
    path("switch/", views.switch, name="switch"),
    path("organization/", views.organization, name="organization"),
    path("organization/hand-over/", views.hand_over, name="hand_over"),
    path("organization/leave/", views.leave, name="leave"),
    path("organization/members/", views.members, name="members"),
    path("organization/members/invite/", views.invite, name="invite"),
    path("organization/members/<int:pk>/", views.member, name="member"),
    path("organization/members/<int:pk>/remove/", views.remove_member, name="member_remove"),
    path("organization/invitations/<int:pk>/resend/", views.resend_invitation, name="invitation_resend"),
    path("organization/invitations/<int:pk>/revoke/", views.revoke_invitation, name="invitation_revoke"),
    path("organization/projects/", views.projects, name="projects"),
    path("organization/projects/new/", views.new_project, name="project_new"),
    path("organization/projects/<str:code>/", views.project, name="project"),
    path("organization/projects/<str:code>/close/", views.close_project, name="project_close"),
    path("organization/projects/<str:code>/reopen/", views.reopen_project, name="project_reopen"),
    path("organization/registries/", views.kept_registries, name="registries"),
    path("organization/registries/new/", views.new_registry, name="registry_new"),
    path("organization/registries/<int:pk>/", views.registry, name="registry"),
    path("organization/registries/<int:pk>/remove/", views.remove_registry, name="registry_remove"),
    path("invitations/<str:token>/", views.invitation, name="invitation"),
]
