import subprocess
import sys


def test_what_was_found_stands_beside_what_is_printed(tmp_path):
    ours, printed = tmp_path / "ours.csv", tmp_path / "printed.csv"
    ours.write_text(
        "set,method,figure,value,low,high,p_holm\n"
        'BraTS21,"pDDPM, L_p",dice,0.48123,0.47,0.49,\nBraTS21,"pDDPM, L_p",auprc,0.5,,,\nMSLUB,DDPM,dice,,,,\n'
    )
    printed.write_text(
        "set,method,figure,value,deviation\n"
        'BraTS21,"pDDPM, L_p",dice,0.49,0.0084\nMSLUB,DDPM,dice,0.0642,0.016\nMSLUB,AE,dice,0.071,\n'
    )
    words = [sys.executable, "examples/bench/beside.py", str(ours), str(printed)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[2:] == [
        "| BraTS21 | dice | pDDPM, L_p | 0.4812 | 0.47 to 0.49 | 0.49 | 0.0084 |",
        "| MSLUB | dice | DDPM |  |  | 0.0642 | 0.016 |",
        "| MSLUB | dice | AE |  |  | 0.071 |  |",
    ]
