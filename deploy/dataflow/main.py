"""What the flex template's launcher runs in the image."""

from runners.dataflow import main

if __name__ == "__main__":
    main()
