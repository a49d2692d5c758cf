import json

import pytest

from hwopt.errors import HwoptError
from hwopt.job import Variant
from hwopt.search.candidate import Candidate


def test_a_file_is_read_back(tmp_path):
    candidate = Candidate(variant=Variant(passes="binarize"), model_options={"width": 8})
    file = tmp_path / "c.json"
    file.write_text(json.dumps(candidate.model_dump(mode="json")))
    assert Candidate.read(file) == candidate


@pytest.mark.parametrize("document", [{"passes": "binarize"}, [], {"variant": {"passes": 3}}])
def test_another_file_is_refused_in_a_sentence(document, tmp_path):
    file = tmp_path / "c.json"
    file.write_text(json.dumps(document))
    with pytest.raises(HwoptError, match="is not a candidate's: they lie in the folder candidates"):
        Candidate.read(file)


def test_a_folder_is_refused_in_a_sentence(tmp_path):
    with pytest.raises(HwoptError, match="cannot be read: Is a directory"):
        Candidate.read(tmp_path)
