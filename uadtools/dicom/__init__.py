"""DICOM: which series of a folder is the scan, NIfTI made of it, and a detection written as DICOM-SEG beside it."""
