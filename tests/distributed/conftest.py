from tests.wire.conftest import way  # noqa: F401 - a fixture of both folders
