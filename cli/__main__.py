from cvflow.cli import main

main()
