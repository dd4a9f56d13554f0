"""Ground truth of UBnormal, MSAD, UCSD Ped2 and Avenue, from the files that their authors publish."""
