from django.urls import path

from portal.home import dev_mail

app_name = "dev"
urlpatterns = [
    path("mail/", dev_mail.mailbox, name="mail"),
    path("mail/<str:name>/", dev_mail.mail, name="mail_message"),
]
