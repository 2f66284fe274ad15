import pytest
from django.conf import settings
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.files.uploadhandler import StopUpload
from django.test import RequestFactory

from portal.core.uploads import NoFiles


def test_no_file_reaches_a_view_or_the_disk() -> None:
    sent = SimpleUploadedFile("big.bin", b"x" * 300_000)
    request = RequestFactory().post("/", {"before": "1", "file": sent, "after": "2"})
    assert (request.POST.dict(), dict(request.FILES)) == ({"before": "1"}, {})
    assert settings.FILE_UPLOAD_HANDLERS == ["portal.core.uploads.NoFiles"]


def test_the_rest_of_such_a_request_is_not_read() -> None:
    with pytest.raises(StopUpload) as stopped:
        NoFiles().new_file("file", "big.bin", "text/plain", None)
    assert stopped.value.connection_reset is True
