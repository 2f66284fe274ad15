from django import forms


class SignUpForm(forms.Form):
    def signup(self, request: object, user: object) -> None:
        pass
