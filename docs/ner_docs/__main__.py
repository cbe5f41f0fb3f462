"""Write the pages of the site: ``python docs/ner_docs TARGET``."""

import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from ner_docs import assemble

    print(f"{sys.argv[1]}: {assemble(Path(sys.argv[1]))} pages")
