from portal.core.logs import without_link_tokens


def test_link_tokens_stay_out_of_logs() -> None:
    event = {"event": "request_finished", "request": "GET /invitations/abcdefghijklmnopqrstuvwxyz/?next=/ "}
    assert without_link_tokens(None, "info", event)["request"] == "GET /invitations/…/?next=/ "


def test_the_tokens_of_machines_stay_out_of_logs() -> None:
    event = {"event": "Conflict: /machine/claims/abc:defghijklmnopqrstuvwxyz/"}
    assert without_link_tokens(None, "info", event) == {"event": "Conflict: /machine/claims/…/"}


def test_what_has_no_token_is_logged_as_it_is() -> None:
    event = {"event": "sent", "request": "GET /invitations/", "job": "/invitations/abcdefghijklmnop/", "count": 3}
    assert without_link_tokens(None, "info", dict(event)) == event


def test_a_token_in_the_message_goes_too() -> None:
    event = {"event": "no route to 'https://portal.example/invitations/abcdefghijklmnop/' today"}
    assert without_link_tokens(None, "info", event) == {
        "event": "no route to 'https://portal.example/invitations/…/' today"
    }
